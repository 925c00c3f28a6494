"""Hooks and the optimizer wrapper of the training recipes."""

import copy
import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import numpy as np
import torch
from mmengine import dist
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Subset

from .imaging import write_whole
from .registry import HOOKS, OPTIM_WRAPPERS
from .rendering import clipped_rgb
from .structures import ColorizationSample, Instances
from .visualization import sheet

# Smaller pictures are shown enlarged, by whole numbers: under them a title would not fit.
LEAST_SIDE = 128


@HOOKS.register_module()
class RecalibratedEMAHook(EMAHook):
    """EMA whose batch-norm statistics are measured for the averaged weights before they are validated or saved.

    Statistics averaged along with the weights belong to no network that ever ran: in a trial they cost up to 3.7 dB and
    laid one tint over everything.

    Args:
        recalibration_batches: how many training batches the statistics are measured on.
        kwargs: see `mmengine.hooks.EMAHook`.
    """

    def __init__(self, recalibration_batches: int = 32, **kwargs: Any) -> None:
        # MMEngine swaps buffers for validation only where it averages them; their averages are never used here.
        super().__init__(update_buffers=True, **kwargs)
        self.recalibration_batches = recalibration_batches
        self._measured = False

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        super().after_train_iter(runner, *args, **kwargs)
        self._measured = False

    def before_val_epoch(self, runner: Runner) -> None:  # noqa: D102
        self._recalibrate(runner)
        super().before_val_epoch(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:  # noqa: D102
        self._recalibrate(runner)
        super().before_save_checkpoint(runner, checkpoint)

    @torch.no_grad()
    def _recalibrate(self, runner: Runner) -> None:
        if self._measured:
            return
        self._measured = True
        averaged = self.ema_model.module
        # A checkpoint is saved by one process alone, so nothing may wait for the others here.
        model = revert_sync_batchnorm(copy.deepcopy(averaged)).eval()
        norms: list[Any] = [model.get_submodule(name) for name in live_batch_norms(self.src_model)]
        if not norms:
            return
        with measured_batch_norm(norms):
            for data in self._batches(runner.train_dataloader):
                batch = model.data_preprocessor(data, training=True)
                model(**{**batch, 'data_samples': None}, mode='loss')
        for buffer, measured in zip(averaged.buffers(), model.buffers(), strict=True):
            buffer.copy_(measured)

    def _batches(self, training: DataLoader) -> DataLoader:
        """Always the same photos, through a loader of their own: drawing from the training's would change its order."""
        dataset: Any = training.dataset
        batch_size = training.batch_size or 1
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(dataset), generator=generator)[: self.recalibration_batches * batch_size]
        photos = Subset(dataset, chosen.tolist())
        return DataLoader(photos, batch_size, collate_fn=training.collate_fn, generator=generator)


def live_batch_norms(model: nn.Module) -> list[str]:
    """Names of the batch norms that training leaves in training mode; the model's mode stays as it is.

    The averaged copy of a model cannot tell: none of its parameters requires a gradient.
    """
    was_training = model.training
    model.train()
    names = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm) and module.training]
    model.train(was_training)
    return names


@contextmanager
def measured_batch_norm(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Within it these batch norms are in training mode and take the plain mean over all batches they see."""
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, (momentum, training) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(training)


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


class WholeFileBackend(LocalBackend):
    """MMEngine's local files, except that a file appears whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:  # noqa: D102
        try:
            write_whole(obj, Path(filepath))
        except OSError as error:
            raise OSError(
                f'cannot save {filepath}: {error.strerror or error}; what was saved before is whole, '
                'and --resume goes on from there'
            ) from error


register_backend('insta_colorization.whole', WholeFileBackend)


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """`CheckpointHook` for disks that fill up and processes that are killed, at any moment.

    A checkpoint appears whole or not at all, then `last_checkpoint` names it, and only then an old one is removed.

    Args:
        max_seconds: how long this process may train. The run then saves, whatever the interval, and ends well; it is
            resumed like one that was stopped. A loop over epochs ends with its epoch. None for no limit.
        kwargs: see `mmengine.hooks.CheckpointHook`; the folder is a local one.
    """

    def __init__(self, max_seconds: float | None = None, **kwargs: Any) -> None:
        super().__init__(backend_args={'backend': 'insta_colorization.whole'}, **kwargs)
        self.max_seconds = max_seconds
        self._began = 0.0

    def before_train(self, runner: Runner) -> None:  # noqa: D102
        super().before_train(runner)
        self._began = monotonic()
        if dist.is_main_process():
            for part in Path(self.out_dir).glob('.*.tmp'):  # of a process that was killed while it saved
                part.unlink()

    def after_train_epoch(self, runner: Runner) -> None:  # noqa: D102
        super().after_train_epoch(runner)
        if self.by_epoch:
            self._end_in_time(runner, runner.epoch + 1)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        super().after_train_iter(runner, *args, **kwargs)
        if not self.by_epoch:
            self._end_in_time(runner, runner.iter + 1)

    def _end_in_time(self, runner: Runner, step: int) -> None:
        if self.max_seconds is None:
            return
        # Clocks differ: the main process decides for all.
        over = [monotonic() - self._began >= self.max_seconds]
        dist.broadcast_object_list(over)
        if not over[0]:
            return
        if self.last_ckpt != self._path(step):
            self._save_checkpoint(runner)
        runner.train_loop.stop_training = True
        runner.logger.info(f'{self.max_seconds:g} s are over: saved {self.last_ckpt}, from which --resume goes on')

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        old = [other for other in self.keep_ckpt_ids if other != step] if self.max_keep_ckpts > 0 else []
        # A resumed run removes what this one, if it is killed before the end of this method, does not.
        runner.message_hub.update_info('keep_ckpt_ids', [*old, step])
        self.last_ckpt = self._path(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            Path(self.last_ckpt).name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if dist.is_main_process():
            self.file_backend.put(self.last_ckpt.encode(), Path(runner.work_dir) / 'last_checkpoint')
        if self.max_keep_ckpts > 0:
            self._forget([*old, step])

    def _forget(self, steps: list[int]) -> None:
        self.keep_ckpt_ids = deque(steps, maxlen=self.max_keep_ckpts)
        if dist.is_main_process():
            for step in steps[: -self.max_keep_ckpts]:
                Path(self._path(step)).unlink(missing_ok=True)

    def _path(self, step: int) -> str:
        return str(Path(self.out_dir) / self.filename_tmpl.format(step))


@HOOKS.register_module()
class ColorizationVisualizationHook(Hook):
    """Shows validation photos to the visualizer as `val_0`, `val_1`, ...: grey | prediction | truth | boxes.

    Args:
        num_photos: how many, always the first ones.
    """

    def __init__(self, num_photos: int = 4) -> None:
        self.num_photos = num_photos
        self._shown = 0

    def before_val_epoch(self, runner: Runner) -> None:  # noqa: D102
        self._shown = 0

    def after_val_iter(  # noqa: D102
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        usable = [sample for sample in outputs or () if not sample.get('skipped')]
        for sample in usable[: self.num_photos - self._shown]:
            runner.visualizer.add_image(f'val_{self._shown}', result_sheet(sample), runner.iter)
            self._shown += 1


def result_sheet(sample: ColorizationSample) -> np.ndarray:
    """Grey | prediction | truth | boxes of one predicted sample, (H, W, 3) uint8 RGB.

    The boxes are those the networks used, or the true ones where they used none.
    """
    truth = sample.gt_rgb.cpu()
    grey, colour = (clipped_rgb(truth, ab) for ab in (torch.zeros(2, 1, 1), sample.pred_ab.cpu()))
    times = max(1, LEAST_SIDE // max(truth.shape))
    enlarged = [picture.repeat_interleave(times, 1).repeat_interleave(times, 2) for picture in (grey, colour, truth)]
    pictures = [picture.movedim(0, -1).numpy() for picture in enlarged]
    instances = sample.get('instances', sample.get('gt_instances'))
    if instances is None:
        instances = Instances.empty(truth.shape[-2:])
    return sheet(pictures[0], pictures[1], instances, truth=pictures[2])


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Autocasts the forward pass to bfloat16, on any device; needs no loss scaling.

    MMEngine's own `AmpOptimWrapper` refuses to run on a CPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:  # noqa: D102
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
