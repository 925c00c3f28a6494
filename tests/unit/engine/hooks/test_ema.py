from pathlib import Path

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine_state import isolate_mmengine
from small_runs import PHOTOS, RECALIBRATED, SMALL, Photos, make_runner, saved
from torch import nn

from insta_colorization.engine.hooks import live_batch_norms, measured_batch_norm
from insta_colorization.models import ImageColorizer, InstanceColorizer, InstColorizer


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
        model(lightness=batch['lightness'])
    return found


def assert_measured(state: dict) -> None:
    expected = statistics_of_all_photos(state)
    assert len(expected) == 18  # nine rows have a batch norm
    for name, value in expected.items():
        torch.testing.assert_close(
            state[name], value, atol=1e-4, rtol=1e-4, msg=lambda text, name=name: f'{name} {text}'
        )


class TestRecalibratedEMA:
    @pytest.fixture(scope='class')
    def trained(self, tmp_path_factory) -> Runner:
        with pytest.MonkeyPatch.context() as patch:
            isolate_mmengine(patch)
            runner = make_runner(tmp_path_factory.mktemp('trained'))
            runner.train()
        return runner

    def test_saved_statistics_are_those_of_the_averaged_weights(self, trained):
        averaged = trained.hooks[[type(hook).__name__ for hook in trained.hooks].index('RecalibratedEMAHook')].ema_model

        checkpoint = saved(Path(trained.work_dir), 3)

        for name, value in averaged.module.named_parameters():
            assert torch.equal(checkpoint['state_dict'][name], value), name
            assert torch.equal(checkpoint['ema_state_dict'][f'module.{name}'], trained.model.get_parameter(name)), name
        assert_measured(checkpoint['state_dict'])

    @pytest.mark.slow
    def test_plain_ema_would_save_other_statistics(self, tmp_path):
        make_runner(tmp_path, hook={**RECALIBRATED, 'type': 'EMAHook'}).train()

        with pytest.raises(AssertionError, match='running_'):
            assert_measured(saved(tmp_path, 3)['state_dict'])

    @pytest.mark.slow
    def test_every_checkpoint_is_measured_also_right_after_a_validation(self, tmp_path):
        make_runner(tmp_path, val_interval=1).train()

        for iteration in (1, 2, 3):
            assert_measured(saved(tmp_path, iteration)['state_dict'])

    @pytest.mark.slow
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

    @pytest.mark.slow
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

    def test_the_models_own_statistics_stay(self, trained):
        raw = saved(Path(trained.work_dir), 3)['ema_state_dict']
        for name, value in trained.model.named_buffers():
            if 'running' in name:
                assert torch.equal(raw[f'module.{name}'], value), name

    @pytest.mark.slow
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

    @pytest.mark.slow
    def test_a_frozen_networks_statistics_stay(self, tmp_path):
        model = InstanceColorizer(image_net=SMALL, instance_net=SMALL)
        make_runner(tmp_path, model=model).train()

        state = saved(tmp_path, 3)['state_dict']
        trained = {name.removeprefix('instance_net.'): value for name, value in state.items() if 'instance' in name}
        assert_measured({f'image_net.{name}': value for name, value in trained.items()})
        for name, value in state.items():
            if name.startswith('image_net.') and 'running_mean' in name:
                assert not value.any(), name  # as at the start

    @pytest.mark.slow
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
