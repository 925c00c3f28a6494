import numpy as np
import pytest

from insta_colorization.utils.bootstrap import bootstrap


def test_the_interval_is_that_of_scipy():
    values = np.random.default_rng(3).normal(0.2, 1, 160)
    # scipy.stats.bootstrap((values,), np.mean, n_resamples=10_000, method='percentile', rng=1) of scipy 1.17.1
    theirs = 0.020275, 0.343986

    mean, low, high = bootstrap(values)

    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(theirs, abs=0.02)


def test_equal_values_give_equal_intervals():
    assert bootstrap([0.5, 1.0, 2.5]) == bootstrap([0.5, 1.0, 2.5])
    assert bootstrap([0.5]) == (0.5, 0.5, 0.5)
