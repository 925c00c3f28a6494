"""Typed data that travels between detectors, datasets, networks and the inferencer."""

from .instances import Instances, Size
from .request import Hint, Request
from .sample import ColorizationSample

__all__ = ['ColorizationSample', 'Hint', 'Instances', 'Request', 'Size']
