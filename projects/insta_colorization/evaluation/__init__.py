"""Metrics, baselines and the protocol beside the numbers."""

from . import baselines, metrics
