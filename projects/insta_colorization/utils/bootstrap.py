"""How sure a mean over photos is."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
_AT_ONCE = 100
CONFIDENCE = 0.95


def bootstrap(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of a value of each photo, and the ends of its percentile bootstrap interval (Efron 1979).

    Args:
        values: at least one; of differences between two systems, so that they are paired by photo.

    Returns:
        Mean, low and high in the values' unit; the same for the same values.
    """
    sample = np.asarray(values, np.float64)
    generator = np.random.default_rng(0)
    shape = (_AT_ONCE, len(sample))
    means = np.concatenate([generator.choice(sample, shape).mean(axis=1) for _ in range(RESAMPLES // _AT_ONCE)])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(sample.mean()), float(low), float(high)
