"""Checkpoints for disks that fill up and processes that are killed."""

from collections import deque
from pathlib import Path
from time import monotonic
from typing import Any

from mmengine import dist
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from insta_colorization.checkpoints import register_reader
from insta_colorization.fileio.files import write_whole
from insta_colorization.registry import HOOKS


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

    A checkpoint appears whole or not at all, then `last_checkpoint` names it, and only then an old one is removed. The
    run can begin with anything that `load_checkpoint` reads, whoever starts it.

    Args:
        max_seconds: how long this process may train. The run then saves, whatever the interval, and ends well; it is
            resumed like one that was stopped. A loop over epochs ends with its epoch. None for no limit.
        kwargs: see `mmengine.hooks.CheckpointHook`; the folder is a local one.
    """

    def __init__(self, max_seconds: float | None = None, **kwargs: Any) -> None:
        super().__init__(backend_args={'backend': 'insta_colorization.whole'}, **kwargs)
        self.max_seconds = max_seconds
        self._began = 0.0

    def before_run(self, runner: Runner) -> None:  # noqa: D102
        register_reader()

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
