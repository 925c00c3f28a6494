from types import SimpleNamespace

import torch

from insta_colorization.engine.hooks import StepSeedHook


def drawn(seed: int, iteration: int) -> list[float]:
    with torch.random.fork_rng():
        StepSeedHook().before_train_iter(SimpleNamespace(seed=seed, iter=iteration))
        return torch.rand(3).tolist()


def test_numbers_follow_from_seed_and_iteration():
    assert drawn(0, 5) == drawn(0, 5)
    assert drawn(0, 5) != drawn(0, 6)
    assert drawn(0, 5) != drawn(1, 5)
