"""Photo in, colour photo out: what the command line, the demo and Python programs call."""

from importlib import import_module
from typing import Any

_MODULES = {'ColorizationInferencer': 'inferencer', 'Prediction': 'predictor', 'Predictor': 'predictor'}

__all__ = ['ColorizationInferencer', 'Prediction', 'Predictor']


def __getattr__(name: str) -> Any:
    # Whoever needs the predictor alone shall not import MMEngine's runner.
    if name in _MODULES:
        return getattr(import_module(f'.{_MODULES[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
