import errno
import json
import resource
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

import insta_colorization.engine.hooks as hooks
from insta_colorization.engine.hooks import InvalidLossHook, live_batch_norms, measured_batch_norm, result_sheet
from insta_colorization.engine.optim_wrapper import BFloat16OptimWrapper
from insta_colorization.models import ImageColorizer, InstanceColorizer, InstColorizer
from insta_colorization.structures import ColorizationSample, Instances

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


@pytest.fixture(autouse=True)
def own_scope(monkeypatch):
    """A runner leaves its default scope behind; here it goes with the test."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())


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

        for field in ('state_dict', 'ema_state_dict'):
            for name, value in whole[field].items():
                assert torch.equal(parts[field][name], value), f'{field} {name}'
        assert_measured(parts['state_dict'])

    def test_a_frozen_networks_statistics_stay(self, tmp_path):
        model = InstanceColorizer(image_net=SMALL, instance_net=SMALL)
        make_runner(tmp_path, model=model).train()

        state = saved(tmp_path, 3)['state_dict']
        trained = {name.removeprefix('instance_net.'): value for name, value in state.items() if 'instance' in name}
        assert_measured({f'image_net.{name}': value for name, value in trained.items()})
        for name, value in state.items():
            if name.startswith('image_net.') and 'running_mean' in name:
                assert not value.any(), name  # as at the start

    def test_without_live_batch_norms_no_photo_is_looked_at(self, tmp_path):
        runner = make_runner(tmp_path, model=ImageColorizer(image_net=SMALL, norm_eval=True))
        runner.train()

        assert {epoch for epoch, _ in runner.train_dataloader.dataset.seen} == {0, 1, 2}
        assert len(runner.train_dataloader.dataset.seen) == 3 * PHOTOS


class TestLiveBatchNorms:
    @pytest.mark.parametrize(
        ('model', 'networks'),
        [
            pytest.param(ImageColorizer(image_net=SMALL), {'image_net'}, id='stage 1'),
            pytest.param(InstanceColorizer(image_net=SMALL, instance_net=SMALL), {'instance_net'}, id='stage 2'),
            pytest.param(InstColorizer(SMALL, SMALL, {'type': 'FusionNetwork', 'width': 1 / 16}), set(), id='stage 3'),
            pytest.param(ImageColorizer(image_net=SMALL, norm_eval=True), set(), id='norm_eval'),
        ],
    )
    @pytest.mark.parametrize('mode', [True, False])
    def test_those_of_the_networks_that_train(self, model, networks, mode):
        model.train(mode)

        assert {name.partition('.')[0] for name in live_batch_norms(model)} == networks
        assert model.training == mode


class TestMeasuredBatchNorm:
    def test_takes_the_plain_mean_over_batches(self):
        norm = nn.BatchNorm2d(3, momentum=0.5)
        norm.running_mean.fill_(7)
        batches = torch.randn(4, 5, 3, 6, 6, generator=torch.Generator().manual_seed(0))

        with measured_batch_norm([norm.eval()]):
            for batch in batches:
                norm(batch)

        values = batches.transpose(1, 2).flatten(2)
        torch.testing.assert_close(norm.running_mean, values.mean(dim=2).mean(dim=0))
        torch.testing.assert_close(norm.running_var, values.var(dim=2).mean(dim=0))
        assert norm.momentum == 0.5
        assert not norm.training

    def test_momenta_come_back_after_an_error(self):
        norm = nn.BatchNorm2d(3, momentum=0.5)

        with pytest.raises(RuntimeError, match='stop'), measured_batch_norm([norm]):
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


class TestInvalidLoss:
    @pytest.fixture
    def spoiled(self, monkeypatch):
        """The second iteration's loss is not a number."""
        original = ImageColorizer.loss
        calls = []

        def loss(self, *args):
            calls.append(1)
            return {
                name: value * (float('nan') if len(calls) == 2 else 1) for name, value in original(self, *args).items()
            }

        monkeypatch.setattr(ImageColorizer, 'loss', loss)

    def test_training_stops_before_anything_is_saved(self, tmp_path, spoiled):
        runner = make_runner(tmp_path, hook={'type': 'InvalidLossHook'}, batch_size=4)

        with pytest.raises(FloatingPointError, match=r'loss_ab is nan.* in iteration 2, .*invalid_loss.json') as stop:
            runner.train()

        report = json.loads((tmp_path / 'invalid_loss.json').read_text())
        batch = [f'{index}.jpg' for _, index in runner.train_dataloader.dataset.seen[4:8]]
        assert report == {'iteration': 2, 'losses': {'loss_ab': 'nan', 'loss': 'nan'}, 'img_paths': batch}
        assert str(stop.value).endswith(f'the first is {batch[0]}')
        assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_1.pth']
        assert all(value.isfinite().all() for value in saved(tmp_path, 1)['state_dict'].values())

    def test_it_looks_only_every_so_often(self, tmp_path, spoiled):
        runner = make_runner(tmp_path, hook={'type': 'InvalidLossHook', 'interval': 3})

        with pytest.raises(FloatingPointError, match='in iteration 3'):
            runner.train()

    def test_a_finite_loss_changes_nothing(self, tmp_path):
        make_runner(tmp_path, hook={'type': 'InvalidLossHook'}).train()

        assert (tmp_path / 'iter_3.pth').is_file()
        assert not (tmp_path / 'invalid_loss.json').exists()

    def test_an_interval_of_none_is_refused(self):
        with pytest.raises(ValueError, match='interval must be at least 1, but got 0'):
            InvalidLossHook(interval=0)


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """Within it no file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob('*.pth'))


def last(folder: Path) -> str:
    return Path((folder / 'last_checkpoint').read_text()).name


class TestWholeCheckpoints:
    @pytest.mark.parametrize(
        ('keep', 'kept'),
        [
            pytest.param(1, ['iter_4.pth'], id='one'),
            pytest.param(2, ['iter_3.pth', 'iter_4.pth'], id='two'),
            pytest.param(-1, [f'iter_{step}.pth' for step in (1, 2, 3, 4)], id='all'),
        ],
    )
    def test_the_newest_stay(self, tmp_path, keep, kept):
        make_runner(tmp_path, iters=4, checkpoint={'max_keep_ckpts': keep}).train()

        assert checkpoints(tmp_path) == kept
        assert last(tmp_path) == 'iter_4.pth'
        assert not list(tmp_path.glob('.*'))

    @pytest.mark.parametrize(('save', 'kept'), [(1, ['iter_1.pth', 'iter_2.pth']), (100, ['iter_2.pth'])])
    def test_a_run_ends_in_time(self, tmp_path, monkeypatch, save, kept):
        clock = iter([100.0, 107.0, 111.0])
        monkeypatch.setattr(hooks, 'monotonic', lambda: next(clock))

        make_runner(tmp_path, iters=4, save=save, checkpoint={'max_seconds': 10}).train()

        assert checkpoints(tmp_path) == kept
        assert last(tmp_path) == 'iter_2.pth'

    @pytest.mark.parametrize('keep', [1, 2])
    def test_a_full_disk_leaves_the_previous_ones(self, tmp_path, keep):
        make_runner(tmp_path, iters=2, checkpoint={'max_keep_ckpts': keep}).train()
        before = {path.name: path.read_bytes() for path in tmp_path.glob('*.pth')}
        resumed = {'resume': True, 'load_from': str(tmp_path / 'iter_2.pth'), 'checkpoint': {'max_keep_ckpts': keep}}

        with (
            small_disk(100_000),
            pytest.raises(OSError, match=r'cannot save .*iter_3\.pth: File too large; .*--resume'),
        ):
            make_runner(tmp_path, iters=4, **resumed).train()

        assert {path.name: path.read_bytes() for path in tmp_path.glob('*.pth')} == before
        assert last(tmp_path) == 'iter_2.pth'
        assert not list(tmp_path.glob('.*'))
        make_runner(tmp_path, iters=4, **resumed).train()
        assert last(tmp_path) == 'iter_4.pth'

    def test_no_space_left_is_said_in_a_sentence(self, tmp_path, monkeypatch):
        def write_whole(data: bytes, path: Path) -> None:
            raise OSError(errno.ENOSPC, 'No space left on device')

        monkeypatch.setattr(hooks, 'write_whole', write_whole)

        with pytest.raises(
            OSError, match=r'^cannot save \S+iter_1.pth: No space left on device; what was saved before'
        ):
            make_runner(tmp_path).train()

        assert not checkpoints(tmp_path)

    def test_an_old_one_goes_only_after_the_new_one_is_named(self, tmp_path, monkeypatch):
        seen = []
        original = Path.unlink

        def unlink(path: Path, missing_ok: bool = False) -> None:
            seen.append((path.name, checkpoints(tmp_path), last(tmp_path)))
            original(path, missing_ok)

        monkeypatch.setattr(Path, 'unlink', unlink)
        make_runner(tmp_path, iters=2, checkpoint={'max_keep_ckpts': 1}).train()

        assert seen == [('iter_1.pth', ['iter_1.pth', 'iter_2.pth'], 'iter_2.pth')]

    def test_a_resumed_run_removes_what_a_killed_one_left(self, tmp_path, monkeypatch):
        def killed(self, steps):
            if len(steps) > 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(hooks.WholeCheckpointHook, '_forget', lambda self, steps: None)
            make_runner(tmp_path, iters=1, checkpoint={'max_keep_ckpts': 1}).train()
        (tmp_path / '.0123.tmp').write_bytes(b'half')
        with monkeypatch.context() as patch:
            patch.setattr(hooks.WholeCheckpointHook, '_forget', killed)
            runner = make_runner(
                tmp_path, iters=2, checkpoint={'max_keep_ckpts': 1}, resume=True, load_from=str(tmp_path / 'iter_1.pth')
            )
            with pytest.raises(KeyboardInterrupt):
                runner.train()
        assert checkpoints(tmp_path) == ['iter_1.pth', 'iter_2.pth']

        make_runner(
            tmp_path, iters=3, checkpoint={'max_keep_ckpts': 1}, resume=True, load_from=str(tmp_path / 'iter_2.pth')
        ).train()

        assert checkpoints(tmp_path) == ['iter_3.pth']
        assert not list(tmp_path.glob('.*.tmp'))

    def test_the_best_one_is_kept_as_well(self, tmp_path):
        runner = make_runner(
            tmp_path, val_interval=1, checkpoint={'max_keep_ckpts': 1, 'save_best': 'auto', 'rule': 'greater'}
        )
        runner.train()

        best = [name for name in checkpoints(tmp_path) if name.startswith('best_')]
        assert len(best) == 1
        assert saved(tmp_path, 3)['message_hub']['runtime_info']['best_ckpt'].endswith(best[0])


def grey(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=-1)


class TestResultSheet:
    @pytest.mark.parametrize('size', [pytest.param(32, id='enlarged'), pytest.param(128, id='as it is')])
    def test_grey_prediction_truth_and_boxes(self, size):
        red = torch.tensor([200, 40, 40], dtype=torch.uint8)[:, None, None].expand(3, size, size)
        sample = ColorizationSample(gt_rgb=red, pred_ab=torch.full((2, 16, 16), -0.4))
        # In the frame of the photo, which was twice as wide as high.
        sample.instances = Instances(torch.tensor([[40.0, 10, 80, 40]]), (50, 100))

        picture = result_sheet(sample)[-128:]
        columns = [picture[:, start : start + 128] for start in range(0, picture.shape[1], 134)]

        assert len(columns) == 4
        assert grey(columns[0]).max() <= 2
        assert columns[1][64, 64].argmax() != 0  # a and b below zero: no red
        assert (columns[2] == [200, 40, 40]).all()
        # (40, 10)..(80, 40) of 100 x 50 are (51, 26)..(102, 102) of 128 x 128, drawn two pixels wide.
        bottom = np.flatnonzero(grey(columns[3][102]) > 30)
        assert np.abs(bottom[[0, -1]] - [51, 102]).max() <= 1
        assert grey(columns[3][105:]).max() <= 2

    def test_the_true_boxes_where_the_networks_used_none(self):
        sample = ColorizationSample(gt_rgb=torch.zeros(3, 32, 32, dtype=torch.uint8), pred_ab=torch.zeros(2, 32, 32))
        without = result_sheet(sample)
        sample.gt_instances = Instances(torch.tensor([[4.0, 4, 28, 28]]), (32, 32))

        assert not np.array_equal(without, result_sheet(sample))


class TestVisualization:
    HOOK = {'type': 'ColorizationVisualizationHook', 'num_photos': 3}

    def shown(self, tmp_path: Path) -> list[str]:
        return sorted(path.name for path in tmp_path.glob('*/vis_data/vis_image/*'))

    def test_the_first_photos_of_every_validation(self, tmp_path):
        make_runner(tmp_path, hook=self.HOOK, iters=2, val_interval=1, batch_size=2).train()

        assert self.shown(tmp_path) == [f'val_{n}_{step}.png' for n in range(3) for step in (1, 2)]

    def test_a_skipped_photo_is_left_out(self, tmp_path, monkeypatch):
        original = Photos.__getitem__

        def broken(self, key):
            item = original(self, key)
            if key == 1:
                item['data_samples'].set_metainfo({'skipped': 'it is broken'})
            return item

        monkeypatch.setattr(Photos, '__getitem__', broken)
        runner = make_runner(tmp_path, hook=self.HOOK, iters=1, val_interval=1, batch_size=4)
        pictures = []
        monkeypatch.setattr(
            hooks, 'result_sheet', lambda sample: pictures.append(sample.img_path) or np.zeros((4, 4, 3))
        )
        monkeypatch.setattr(runner.visualizer, 'add_image', lambda *args: None)
        runner.train()

        assert pictures == ['0.jpg', '2.jpg', '3.jpg']
