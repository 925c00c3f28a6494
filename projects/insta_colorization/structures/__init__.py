"""Typed data that travels between detectors, datasets, networks and the inferencer."""

from .instances import Instances, Size
from .sample import ColorizationSample

__all__ = ['ColorizationSample', 'Instances', 'Size']
