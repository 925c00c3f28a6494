"""Random numbers of the networks that a resumed run repeats."""

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from insta_colorization.registry import HOOKS


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seeds torch in each iteration of training by the run's seed, the iteration and the process.

    For networks with dropout or the like, so that a run that is stopped and resumed draws what it would have drawn.
    """

    def before_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:  # noqa: D102
        state = np.random.SeedSequence((runner.seed, runner.iter, get_rank())).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> np.uint64(1)))
