"""Checks of numbers that configs set."""

import math


def positive(name: str, value: float) -> float:
    """The value.

    Raises:
        ValueError: it is not above 0, or not finite.
    """
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f'{name} must be positive and finite, but got {value}')
    return value


def share(name: str, value: float) -> float:
    """The value.

    Raises:
        ValueError: it lies outside [0, 1].
    """
    if not 0 <= value <= 1:
        raise ValueError(f'{name} must be a share in [0, 1], but got {value}')
    return value
