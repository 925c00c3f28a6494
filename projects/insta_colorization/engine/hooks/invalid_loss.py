"""Stops a training at a loss that is not finite."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from insta_colorization.fileio.files import write_whole
from insta_colorization.registry import HOOKS


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stops the training at a loss that is not finite, before anything is logged or saved.

    What the batch was is written to `<work_dir>/invalid_loss.json`: `iteration` (from 1), `losses` (as text) and
    `img_paths`, of the processes whose loss it was.

    Args:
        interval: the loss is looked at every so many iterations. With more than 1, a checkpoint may be saved between.
    """

    # Ahead of whatever logs, averages or saves.
    priority = 'HIGHEST'

    def __init__(self, interval: int = 1) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1, but got {interval}')
        self.interval = interval

    def after_train_iter(  # noqa: D102
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        if not outputs or not self.every_n_train_iters(runner, self.interval):
            return
        losses = torch.stack([value.detach().float() for value in outputs.values()])
        invalid = (~losses.isfinite().all()).float()
        somewhere = invalid.clone()
        dist.all_reduce(somewhere, 'max')
        if somewhere:
            names = [name for name, value in zip(outputs, losses, strict=True) if not value.isfinite()]
            mine = {
                'losses': {name: str(outputs[name].item()) for name in names},
                'img_paths': [sample.get('img_path') for sample in data_batch['data_samples']] if invalid else [],
            }
            self._stop(runner, dist.all_gather_object(mine))

    def _stop(self, runner: Runner, found: Sequence[dict]) -> NoReturn:
        losses = {name: value for record in found for name, value in record['losses'].items()}
        paths = [path for record in found for path in record['img_paths']]
        file = Path(runner.work_dir) / 'invalid_loss.json'
        iteration = runner.iter + 1
        if dist.is_main_process():
            text = json.dumps({'iteration': iteration, 'losses': losses, 'img_paths': paths}, indent=1)
            write_whole(text.encode(), file)
        dist.barrier()  # a process that stops has the launcher end the others
        values = ', '.join(f'{name} is {value}' for name, value in losses.items())
        raise FloatingPointError(
            f'{values} in iteration {iteration}, so the training stops before anything of it is saved; '
            f'{file} names the photos of the batch, the first is {paths[0]}'
        )
