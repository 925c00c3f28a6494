"""Trainings by recipes that a test has made small."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine_state import isolate_mmengine

from insta_colorization.checkpoints import register_reader


def trained(cfg: Config, work_dir: Path, iters: int, **settings: object) -> Runner:
    """Trains for so many iterations, saves half-way and at the end, logs each and validates at the end."""
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'experiment_name': work_dir.name,
            'param_scheduler': [],
            'train_cfg.max_iters': iters,
            'train_cfg.val_interval': iters,
            'default_hooks.checkpoint.interval': iters // 2,
            'default_hooks.logger.interval': 1,
            'visualizer.vis_backends': [{'type': 'LocalVisBackend'}],
            'log_level': 'ERROR',
            **settings,
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        isolate_mmengine(patch)
        register_reader()
        runner = Runner.from_cfg(cfg)
        runner.train()
    return runner
