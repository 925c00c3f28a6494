import json

import pytest
from small_runs import make_runner, saved

from insta_colorization.engine.hooks import InvalidLossHook
from insta_colorization.models import ImageColorizer


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

    @pytest.mark.slow
    def test_a_finite_loss_changes_nothing(self, tmp_path):
        make_runner(tmp_path, hook={'type': 'InvalidLossHook'}).train()

        assert (tmp_path / 'iter_3.pth').is_file()
        assert not (tmp_path / 'invalid_loss.json').exists()

    def test_an_interval_of_none_is_refused(self):
        with pytest.raises(ValueError, match='interval must be at least 1, but got 0'):
            InvalidLossHook(interval=0)
