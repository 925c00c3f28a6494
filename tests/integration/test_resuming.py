"""A training that is stopped at any moment and resumed ends with the weights of one that was left alone."""

import re
import signal
from functools import cache
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
# Everything that has a state: live batch norms, Adam, two schedules, averaged weights, augmentations, two workers.
CONFIG = """
_base_ = ['{configs}/_base_/default_runtime.py', '{configs}/insta/_base_/models/insta_full.py']
model = dict(image_net=dict(width=1 / 16))
pipeline = [
    dict(type='LoadPhoto'),
    dict(type='RandomCropPhoto', min_side=0.5),
    dict(type='RandomFlipPhoto'),
    dict(type='ResizePhoto', size=32),
    dict(type='PackColorization'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='PhotoSampler', shuffle=True),
    dataset=dict(type='ColorizationDataset', data_root='photos', pipeline=pipeline),
)
val_dataloader = dict(
    batch_size=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ColorizationDataset', data_root='photos', test_mode=True, pipeline=pipeline),
)
val_cfg = dict(type='ValLoop')
val_evaluator = [dict(type='PSNR')]
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=5, T_max=10, end=15, eta_min=1e-4),
]
custom_imports = dict(imports=['trouble'])
custom_hooks = [
    dict(type='RecalibratedEMAHook', ema_type='ExponentialMovingAverage', momentum=0.2, recalibration_batches=2),
    dict(type='KillHook'),
]
"""
BY_ITERATION = """
train_cfg = dict(type='ResumableIterLoop', max_iters=9, val_interval=3)
train_dataloader = dict(sampler=dict(infinite=True))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2))
"""
BY_EPOCH = """
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1)
"""
# Kills the process while it trains or writes a checkpoint, or has the disk full then.
TROUBLE = """
import os
import resource
import signal

from mmengine.hooks import Hook

import insta_colorization.engine.hooks.checkpoint
from insta_colorization.registry import HOOKS

kind, _, moment = os.environ.get('TROUBLE', '').partition(' ')


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class KillHook(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        if kind == 'kill' and moment == str(runner.iter + 1):
            kill()


def write_whole(data, path, original=insta_colorization.engine.hooks.checkpoint.write_whole):
    if moment == path.name and kind == 'kill':
        path.with_name('.half.tmp').write_bytes(data[: len(data) // 2])
        kill()
    if moment == path.name and kind == 'full':
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    original(data, path)


insta_colorization.engine.hooks.checkpoint.write_whole = write_whole
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Photos, the two configs and the module that makes trouble."""
    folder = tmp_path_factory.mktemp('resuming')
    (folder / 'photos').mkdir()
    generator = np.random.default_rng(0)
    for index in range(10):
        coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((48, 40)).save(folder / 'photos' / f'{index}.png')
    (folder / 'base.py').write_text(CONFIG.format(configs=CONFIGS))
    for name, settings in (('iterations', BY_ITERATION), ('epochs', BY_EPOCH)):
        (folder / f'{name}.py').write_text(f"_base_ = ['./base.py']\n{settings}")
    (folder / 'trouble.py').write_text(TROUBLE)
    return folder


def train(folder: Path, config: str, work_dir: str, *options: str, trouble: str = '') -> tuple[int, str]:
    """Exit status and log of the command."""
    words = [f'{config}.py', '--work-dir', work_dir, *options]
    done = forked.run(ROOT / 'tools' / 'train.py', *words, cwd=folder, PYTHONPATH=str(folder), TROUBLE=trouble)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope='module')
def left_alone(folder):
    """Trains without any trouble; returns the work folder."""

    @cache
    def run(config: str) -> Path:
        status, log = train(folder, config, f'{config}_alone')
        assert status == 0, log
        return folder / f'{config}_alone'

    return run


def differing(found: object, expected: object, name: str = '') -> list[str]:
    """Names of the tensors and numbers in which two checkpoints differ by a bit."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), name
        return [path for key in expected for path in differing(found[key], expected[key], f'{name}.{key}')]
    if isinstance(expected, list):
        return [
            path for i, pair in enumerate(zip(found, expected, strict=True)) for path in differing(*pair, f'{name}.{i}')
        ]
    equal = torch.equal(found, expected) if isinstance(expected, torch.Tensor) else found == expected
    return [] if equal else [name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'trouble', 'resumed_at', 'last'),
    [
        # Batches of 4 of 10 photos: iteration 6 is in the third epoch of an endless order.
        pytest.param('iterations', 'kill 7', 'epoch: 0, iter: 6', 'iter_9.pth', id='iterations'),
        # Three iterations an epoch: killed in the middle of the second.
        pytest.param('epochs', 'kill 5', 'epoch: 1, iter: 3', 'epoch_3.pth', id='epochs'),
        pytest.param('iterations', 'time', 'epoch: 0, iter: 1', 'iter_9.pth', id='time'),
        pytest.param('epochs', 'kill epoch_2.pth', 'epoch: 1, iter: 3', 'epoch_3.pth', id='saving'),
        pytest.param('epochs', 'full epoch_2.pth', 'epoch: 1, iter: 3', 'epoch_3.pth', id='full disk'),
    ],
)
def test_stopped_and_resumed_is_as_if_it_had_gone_on(folder, left_alone, request, config, trouble, resumed_at, last):
    work_dir = request.node.callspec.id.replace(' ', '_')

    limit = ('--cfg-options', 'default_hooks.checkpoint.max_seconds=0') if trouble == 'time' else ()
    status, log = train(folder, config, work_dir, *limit, trouble=trouble)
    if trouble.startswith('kill'):
        assert status == -signal.SIGKILL, log
    elif trouble == 'time':
        assert status == 0, log
        assert 'iter_1.pth, from which --resume goes on' in log
    else:
        assert status == 1, log
        assert re.fullmatch(r'error: cannot save \S+epoch_2.pth: File too large; .*', log.splitlines()[-1])
    status, log = train(folder, config, work_dir, '--resume')
    assert status == 0, log
    assert f'resumed {resumed_at}\n' in log

    found, expected = (torch.load(path / last, weights_only=False) for path in (folder / work_dir, left_alone(config)))
    for field in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert expected[field]
        assert differing(found[field], expected[field], field) == []
    assert not list((folder / work_dir).glob('.*.tmp'))
