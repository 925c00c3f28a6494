import uuid
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

NUMBERS = 10


class Numbers(Dataset):
    """Ten numbers that are told apart by epoch; `loaded` says which ones were asked of this process."""

    metainfo: dict = {}

    def __init__(self) -> None:
        self.loaded: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return NUMBERS

    def __getitem__(self, key: int | tuple[int, int]) -> dict:
        epoch, index = (0, key) if isinstance(key, int) else key
        self.loaded.append((epoch, index))
        return {'inputs': torch.tensor([100.0 * epoch + index])}


class Memory(BaseModel):
    """Keeps what it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.batches: list[list[float]] = []

    def forward(self, inputs: list[torch.Tensor], mode: str) -> dict:
        self.batches.append([number.item() for number in inputs])
        return {'loss': self.weight.sum()}


def train(
    folder: Path, iters: int, resume: int | None = None, sampler: str = 'PhotoSampler', workers: int = 0
) -> Runner:
    infinite = {'infinite': True} if sampler == 'PhotoSampler' else {}
    runner = Runner(
        model=Memory(),
        work_dir=str(folder),
        train_dataloader={
            'dataset': Numbers(),
            'batch_size': 3,
            'num_workers': workers,
            'persistent_workers': workers > 0,
            'sampler': {'type': sampler, 'shuffle': True, **infinite},
        },
        train_cfg={'type': 'ResumableIterLoop', 'max_iters': iters},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.0}},
        default_hooks={'checkpoint': {'type': 'CheckpointHook', 'by_epoch': False, 'interval': 1}},
        default_scope='insta_colorization',
        randomness={'seed': 3},
        experiment_name=uuid.uuid4().hex,
        log_level='ERROR',
        resume=resume is not None,
        load_from=str(folder / f'iter_{resume}.pth') if resume else None,
    )
    runner.train()
    if workers:  # left to the garbage collector, each would take five seconds to stop
        runner.train_dataloader._iterator._shutdown_workers()
    return runner


@pytest.mark.parametrize('workers', [pytest.param(0, id='alone'), pytest.param(2, id='persistent workers')])
@pytest.mark.parametrize('done', [pytest.param(2, id='within an epoch'), pytest.param(5, id='in the next epoch')])
@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_next_batch(tmp_path, done, workers):
    whole = train(tmp_path / 'whole', 8).model.batches
    train(tmp_path / 'parts', done, workers=workers)

    resumed = train(tmp_path / 'parts', 8, resume=done, workers=workers).model.batches

    assert resumed == whole[done:]
    assert len({number for batch in whole for number in batch}) == 24  # no number twice in an epoch


def test_what_was_trained_on_is_not_loaded_again(tmp_path):
    train(tmp_path, 5)

    assert len(train(tmp_path, 8, resume=5).train_dataloader.dataset.loaded) == 3 * 3


def test_with_another_sampler_it_loads_and_drops_as_mmengine_does(tmp_path):
    whole = train(tmp_path / 'whole', 4, sampler='InfiniteSampler').model.batches
    train(tmp_path / 'parts', 2, sampler='InfiniteSampler')

    resumed = train(tmp_path / 'parts', 4, resume=2, sampler='InfiniteSampler')

    assert resumed.model.batches == whole[2:]
    assert len(resumed.train_dataloader.dataset.loaded) == 4 * 3
