"""Logs the mean loss of all processes."""

from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from insta_colorization.registry import HOOKS


@HOOKS.register_module()
class MeanLossHook(Hook):
    """Makes the logged losses the mean over all processes; without it they are the first process's own."""

    # Ahead of MMEngine's `RuntimeInfoHook`, which takes the losses for the log.
    priority = 'HIGHEST'

    def after_train_iter(  # noqa: D102
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        if outputs and dist.is_distributed():
            losses = torch.stack([value.detach().float() for value in outputs.values()])
            dist.all_reduce(losses, 'mean')
            outputs.update(zip(outputs, losses, strict=True))
