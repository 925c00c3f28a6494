"""Metrics, baselines and the protocol beside the numbers."""

from . import baselines, metrics

__all__ = ['baselines', 'metrics']
