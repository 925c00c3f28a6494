"""Trainings of a few iterations on eight photos of noise, for the tests of what takes part in them."""

import uuid
from pathlib import Path

import numpy as np
import torch
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from insta_colorization.models import ImageColorizer
from insta_colorization.structures import ColorizationSample

PHOTOS = 8
SMALL = {'type': 'ColorizationBackbone', 'width': 1 / 16}
RECALIBRATED = {'type': 'RecalibratedEMAHook', 'ema_type': 'ExponentialMovingAverage', 'momentum': 0.4}


class Photos(Dataset):
    """Eight photos of noise; `jitter` augments them as the key says, `seen` logs what was asked for."""

    metainfo: dict = {}

    def __init__(self, jitter: bool = False) -> None:
        coarse = np.random.default_rng(0).integers(0, 256, (PHOTOS, 3, 4, 4), dtype=np.uint8)
        self.photos = torch.from_numpy(np.kron(coarse, np.ones((1, 1, 4, 4), np.uint8)))
        self.jitter = jitter
        self.seen: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return PHOTOS

    def __getitem__(self, key: int | tuple[int, int]) -> dict:
        epoch, index = (0, key) if isinstance(key, int) else key
        self.seen.append((epoch, index))
        shift = int(np.random.default_rng((epoch, index)).integers(16)) if self.jitter else 0
        photo = self.photos[index].roll(shift, dims=-1)
        sample = ColorizationSample(gt_rgb=photo, metainfo={'img_path': f'{index}.jpg'})
        return {'inputs': {'image': photo}, 'data_samples': sample}


def make_runner(
    folder: Path,
    hook: dict | None = None,
    iters: int = 3,
    val_interval: int = 100,
    save: int = 1,
    model: nn.Module | None = None,
    checkpoint: dict | None = None,
    **settings,
) -> Runner:
    loader = {
        'dataset': Photos(settings.pop('jitter', False)),
        'batch_size': settings.pop('batch_size', PHOTOS),
        'num_workers': 0,
    }
    torch.manual_seed(1)
    return Runner(
        model=model or ImageColorizer(image_net=SMALL),
        work_dir=str(folder),
        train_dataloader={**loader, 'sampler': {'type': 'PhotoSampler', 'infinite': True}},
        train_cfg={'type': 'ResumableIterLoop', 'max_iters': iters, 'val_interval': val_interval},
        val_dataloader={**loader, 'dataset': Photos(), 'sampler': {'type': 'DefaultSampler', 'shuffle': False}},
        val_cfg={'type': 'ValLoop'},
        val_evaluator={'type': 'PSNR'},
        optim_wrapper={'type': 'OptimWrapper', 'optimizer': {'type': 'Adam', 'lr': 3e-3}},
        default_hooks={
            'checkpoint': {'type': 'WholeCheckpointHook', 'by_epoch': False, 'interval': save, **(checkpoint or {})}
        },
        custom_hooks=[hook or RECALIBRATED],
        default_scope='insta_colorization',
        randomness={'seed': 0},
        experiment_name=uuid.uuid4().hex,
        log_level='ERROR',
        **settings,
    )


def saved(folder: Path, iteration: int) -> dict:
    return torch.load(folder / f'iter_{iteration}.pth', weights_only=False)
