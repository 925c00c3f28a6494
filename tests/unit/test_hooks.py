import uuid
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from insta_colorization.hooks import BFloat16OptimWrapper, ChannelsLastHook, measured_batch_norm
from insta_colorization.models import ImageColorizer
from insta_colorization.structures import ColorizationSample

PHOTOS = 8
SMALL = {'type': 'ColorizationBackbone', 'width': 1 / 16}
RECALIBRATED = {'type': 'RecalibratedEMAHook', 'ema_type': 'ExponentialMovingAverage', 'momentum': 0.4}


class Photos(Dataset):
    """Eight photos of noise; `jitter` adds an augmentation that draws from numpy, `seen` logs what was asked for."""

    metainfo: dict = {}

    def __init__(self, jitter: bool = False) -> None:
        coarse = np.random.default_rng(0).integers(0, 256, (PHOTOS, 3, 4, 4), dtype=np.uint8)
        self.photos = torch.from_numpy(np.kron(coarse, np.ones((1, 1, 4, 4), np.uint8)))
        self.jitter = jitter
        self.seen: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return PHOTOS

    def __getitem__(self, index: int) -> dict:
        shift = np.random.randint(16) if self.jitter else 0
        self.seen.append((index, shift))
        photo = self.photos[index].roll(shift, dims=-1)
        return {'inputs': {'image': photo}, 'data_samples': ColorizationSample(gt_rgb=photo)}


@pytest.fixture(autouse=True)
def own_scope(monkeypatch):
    """A runner leaves its default scope behind; here it goes with the test."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())


def make_runner(
    folder: Path, hook: dict | None = None, iters: int = 3, val_interval: int = 100, save: int = 1, **settings
) -> Runner:
    loader = {
        'dataset': Photos(settings.pop('jitter', False)),
        'batch_size': settings.pop('batch_size', PHOTOS),
        'num_workers': 0,
    }
    torch.manual_seed(1)
    return Runner(
        model=ImageColorizer(image_net=SMALL),
        work_dir=str(folder),
        train_dataloader={**loader, 'sampler': {'type': 'InfiniteSampler', 'shuffle': True}},
        train_cfg={'type': 'IterBasedTrainLoop', 'max_iters': iters, 'val_interval': val_interval},
        val_dataloader={**loader, 'dataset': Photos(), 'sampler': {'type': 'DefaultSampler', 'shuffle': False}},
        val_cfg={'type': 'ValLoop'},
        val_evaluator={'type': 'PSNR'},
        optim_wrapper={'type': 'OptimWrapper', 'optimizer': {'type': 'Adam', 'lr': 3e-3}},
        default_hooks={'checkpoint': {'type': 'CheckpointHook', 'by_epoch': False, 'interval': save}},
        custom_hooks=[hook or RECALIBRATED],
        default_scope='insta_colorization',
        randomness={'seed': 0},
        experiment_name=uuid.uuid4().hex,
        log_level='ERROR',
        **settings,
    )


def saved(folder: Path, iteration: int) -> dict:
    return torch.load(folder / f'iter_{iteration}.pth', weights_only=False)


def statistics_of_all_photos(state: dict) -> dict[str, torch.Tensor]:
    """Mean and unbiased variance of what reaches every batch norm when all photos run as one batch."""
    model = ImageColorizer(image_net=SMALL)
    model.load_state_dict(state)
    model.train()
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):

            def measure(_: nn.Module, inputs: tuple, name: str = name) -> None:
                values = inputs[0].transpose(0, 1).flatten(1)
                found[f'{name}.running_mean'] = values.mean(dim=1)
                found[f'{name}.running_var'] = values.var(dim=1)

            module.register_forward_pre_hook(measure)
    photos = Photos()
    batch = model.data_preprocessor(pseudo_collate([photos[index] for index in range(PHOTOS)]), training=True)
    with torch.no_grad():
        model(batch['lightness'])
    return found


def assert_measured(state: dict) -> None:
    expected = statistics_of_all_photos(state)
    assert len(expected) == 18  # nine rows have a batch norm
    for name, value in expected.items():
        torch.testing.assert_close(
            state[name], value, atol=1e-4, rtol=1e-4, msg=lambda text, name=name: f'{name} {text}'
        )


class TestRecalibratedEMA:
    def test_saved_statistics_are_those_of_the_averaged_weights(self, tmp_path):
        runner = make_runner(tmp_path)
        runner.train()
        averaged = runner.hooks[[type(hook).__name__ for hook in runner.hooks].index('RecalibratedEMAHook')].ema_model

        checkpoint = saved(tmp_path, 3)

        for name, value in averaged.module.named_parameters():
            assert torch.equal(checkpoint['state_dict'][name], value), name
            assert torch.equal(checkpoint['ema_state_dict'][f'module.{name}'], runner.model.get_parameter(name)), name
        assert_measured(checkpoint['state_dict'])

    def test_plain_ema_would_save_other_statistics(self, tmp_path):
        make_runner(tmp_path, hook={**RECALIBRATED, 'type': 'EMAHook'}).train()

        with pytest.raises(AssertionError, match='running_'):
            assert_measured(saved(tmp_path, 3)['state_dict'])

    def test_every_checkpoint_is_measured_also_right_after_a_validation(self, tmp_path):
        make_runner(tmp_path, val_interval=1).train()

        for iteration in (1, 2, 3):
            assert_measured(saved(tmp_path, iteration)['state_dict'])

    def test_validation_sees_them(self, tmp_path, monkeypatch):
        validated = []
        original = ImageColorizer.val_step

        def val_step(self, data):
            validated.append({name: value.clone() for name, value in self.state_dict().items()})
            return original(self, data)

        monkeypatch.setattr(ImageColorizer, 'val_step', val_step)
        make_runner(tmp_path, iters=4, val_interval=2).train()

        assert len(validated) == 2
        for state in validated:
            assert_measured(state)

    def test_training_is_not_disturbed(self, tmp_path):
        runs = {}
        for name, hook in (('EMAHook', 'EMAHook'), ('ours', 'RecalibratedEMAHook')):
            settings = {'iters': 6, 'val_interval': 2, 'save': 3, 'batch_size': 4}
            runner = make_runner(tmp_path / name, {**RECALIBRATED, 'type': hook}, jitter=True, **settings)
            runner.train()
            runs[name] = (saved(tmp_path / name, 6), runner.train_dataloader.dataset.seen)

        (plain, seen), (ours, also_seen) = runs['EMAHook'], runs['ours']
        extra = len(also_seen) - len(seen)
        assert extra > 0
        assert extra % PHOTOS == 0
        # What training itself left behind: the raw weights, statistics included, and the optimizer's moments.
        for key in plain['ema_state_dict']:
            if 'running' not in key and 'num_batches' not in key:
                assert torch.equal(plain['ema_state_dict'][key], ours['ema_state_dict'][key]), key
        for key, value in plain['state_dict'].items():
            if 'running' not in key and 'num_batches' not in key:
                assert torch.equal(value, ours['state_dict'][key]), key

    def test_the_models_own_statistics_stay(self, tmp_path):
        runner = make_runner(tmp_path)
        runner.train()

        raw = saved(tmp_path, 3)['ema_state_dict']
        for name, value in runner.model.named_buffers():
            if 'running' in name:
                assert torch.equal(raw[f'module.{name}'], value), name

    def test_a_stopped_run_goes_on(self, tmp_path):
        make_runner(tmp_path / 'whole', iters=4, save=2).train()
        make_runner(tmp_path / 'parts', iters=2, save=2).train()
        resumed = make_runner(
            tmp_path / 'parts', iters=4, save=2, resume=True, load_from=str(tmp_path / 'parts' / 'iter_2.pth')
        )
        resumed.train()

        whole, parts = saved(tmp_path / 'whole', 4), saved(tmp_path / 'parts', 4)

        # Each batch holds all photos; their order within it is not resumed, so sums differ in the last digits.
        for field in ('state_dict', 'ema_state_dict'):
            for name, value in whole[field].items():
                torch.testing.assert_close(parts[field][name], value, atol=2e-3, rtol=1e-2, msg=f'{field} {name}')
        assert_measured(parts['state_dict'])


class TestMeasuredBatchNorm:
    def test_takes_the_plain_mean_over_batches(self):
        norm = nn.BatchNorm2d(3, momentum=0.5)
        norm.running_mean.fill_(7)
        batches = torch.randn(4, 5, 3, 6, 6, generator=torch.Generator().manual_seed(0))

        with measured_batch_norm(norm.eval()):
            for batch in batches:
                norm(batch)

        values = batches.transpose(1, 2).flatten(2)
        torch.testing.assert_close(norm.running_mean, values.mean(dim=2).mean(dim=0))
        torch.testing.assert_close(norm.running_var, values.var(dim=2).mean(dim=0))
        assert norm.momentum == 0.5

    def test_momenta_come_back_after_an_error(self):
        norm = nn.BatchNorm2d(3, momentum=0.5)

        with pytest.raises(RuntimeError, match='stop'), measured_batch_norm(norm):
            raise RuntimeError('stop')

        assert norm.momentum == 0.5


class TestBFloat16:
    def test_the_forward_pass_runs_in_bfloat16_and_the_weights_stay_float32(self):
        model = ImageColorizer(image_net=SMALL).train()
        wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        seen = []
        model.image_net.stages['conv4'][0].register_forward_hook(lambda *args: seen.append(args[2].dtype))
        photos = Photos()
        before = model.image_net.stages['conv4'][0].weight.detach().clone()

        losses = model.train_step(pseudo_collate([photos[0], photos[1]]), wrapper)

        weight = model.image_net.stages['conv4'][0].weight
        assert seen == [torch.bfloat16]
        assert losses['loss_ab'].dtype == weight.dtype == torch.float32
        assert weight.isfinite().all()
        assert not torch.equal(weight, before)

    def test_outside_the_context_all_is_float32(self):
        model = ImageColorizer(image_net=SMALL).eval()
        wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))

        with wrapper.optim_context(model):
            assert model(torch.zeros(1, 1, 8, 8)).dtype == torch.float32  # what leaves the decoder
            assert torch.is_autocast_enabled('cpu')
        assert not torch.is_autocast_enabled('cpu')


def test_channels_last(tmp_path):
    runner = make_runner(tmp_path, hook={'type': 'ChannelsLastHook'}, iters=1)
    assert any(isinstance(hook, ChannelsLastHook) for hook in runner.hooks)
    weight = runner.model.image_net.stages['conv4'][0].weight
    assert not weight.is_contiguous(memory_format=torch.channels_last)

    runner.train()

    for name, parameter in runner.model.named_parameters():
        if parameter.ndim == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last), name
