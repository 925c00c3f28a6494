"""Photo in, colour photo out: what the command line, the demo and Python programs call."""

from .inferencer import ColorizationInferencer

__all__ = ['ColorizationInferencer']
