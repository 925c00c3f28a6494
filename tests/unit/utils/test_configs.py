import inspect

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from insta_colorization.checkpoints import load_checkpoint
from insta_colorization.detectors.dense_head import DenseDetector
from insta_colorization.models import Colorizer
from insta_colorization.registry import MODELS, build_model
from insta_colorization.utils.configs import (
    DEFAULT_WEIGHTS,
    PUBLISHED_CONFIG,
    config_folder,
    config_of_weights,
    find_config,
    load_config,
    shipped_weights,
)

RECIPES = sorted(path.stem for path in config_folder().rglob('*.py') if '_base_' not in path.parts)


@pytest.mark.parametrize('name', RECIPES)
def test_every_recipe_is_found_by_its_name_and_has_a_model(name):
    assert find_config(name) == find_config(f'{name}.py')
    kind = DenseDetector if find_config(name).parent.name == 'detectors' else Colorizer
    assert issubclass(MODELS.get(load_config(name).model.type), kind)


def test_the_config_of_weights_is_the_recipe_that_they_name():
    named = load_checkpoint(DEFAULT_WEIGHTS).metadata

    assert config_of_weights(named).stem == named['config'] == 'insta_fusion_lite_256x256'


@pytest.mark.parametrize(
    ('config', 'weights'),
    [
        ('insta_full_cocostuff_256x256', 'insta_fusion_photos_w025'),
        ('insta_full_lite_128x128', 'insta_fusion_lite'),
        ('patch_eccv16_256x256', 'insta_fusion_lite'),
        ('semantic_color_lite_256x256', 'semantic_lite'),
    ],
)
def test_shipped_weights_go_by_the_networks(config, weights):
    assert shipped_weights(load_config(config).model).stem == weights


def test_weights_choose_no_file_outside_the_recipes(tmp_path, monkeypatch):
    (tmp_path / 'mine.py').write_text('model = dict()')
    monkeypatch.chdir(tmp_path)

    for name in ('mine.py', 'mine', str(tmp_path / 'mine.py'), ''):
        assert config_of_weights({'config': name}).stem == PUBLISHED_CONFIG
    assert config_of_weights({}).stem == PUBLISHED_CONFIG


def test_a_path_comes_before_a_name(tmp_path, monkeypatch):
    (tmp_path / PUBLISHED_CONFIG).write_text('model = dict()')
    monkeypatch.chdir(tmp_path)

    assert find_config(PUBLISHED_CONFIG).resolve() == tmp_path / PUBLISHED_CONFIG


@pytest.mark.parametrize(
    'name', ['insta_ful_cocostuff', 'elsewhere/insta_full_cocostuff_256x256.py', 'insta_full_cocostuff_256x256.yaml']
)
def test_an_unknown_config_lists_close_names(name):
    with pytest.raises(FileNotFoundError, match=f'config {name} does not exist; close .*insta_full_cocostuff_256x256'):
        find_config(name)


def test_a_name_like_no_other_lists_all():
    with pytest.raises(FileNotFoundError) as error:
        find_config('%%%')

    assert all(name in str(error.value) for name in RECIPES)


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        pytest.param('a.py', 'model = dict(', r'a\.py cannot be used: ', id='broken'),
        pytest.param('a.py', "_base_ = ['none.py']", r'a\.py cannot be used: ', id='without its base'),
        pytest.param('a.txt', 'model', r'a\.txt cannot be used: ', id='no config'),
        pytest.param('a.py', 'optimizer = 1', 'has no `model`, but has optimizer', id='without a model'),
        pytest.param('a.py', '', 'has no `model`, but has nothing', id='empty'),
    ],
)
def test_a_file_that_is_no_config_of_a_model_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)

    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / name)


def test_configs_that_are_loaded_already():
    config = Config({'model': {'type': 'ImageColorizer'}})

    assert load_config(config) is config
    assert load_config({'model': {'type': 'ImageColorizer'}}).model.type == 'ImageColorizer'


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('optim_wraper.optimizer.lr', "there is no setting 'optim_wraper'; the closest one is 'optim_wrapper'"),
        ('randomnes.seed', "no setting 'randomnes'; the closest one is 'randomness'"),
        ('zzz', "there is no setting 'zzz'$"),
        ('max_iters', r"'max_iters' is a variable that the config was made with; .* train_cfg\.max_iters"),
        ('train_pipeline', r"'train_pipeline' is a variable .* train_dataloader\.dataset\.pipeline"),
    ],
)
def test_settings_that_nothing_reads_are_refused(tmp_path, key, message):
    (tmp_path / 'mine.py').write_text(
        "model = dict(type='ImageColorizer')\nmax_iters = 100\ntrain_pipeline = [dict(type='LoadPhoto')]\nmine = 100\n"
        'train_cfg = dict(max_iters=max_iters)\ntrain_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n'
    )

    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / 'mine.py', {key: 3})

    assert load_config(tmp_path / 'mine.py', {'mine': 3}).mine == 3  # for a hook of one's own


@pytest.mark.parametrize('name', sorted(inspect.signature(Runner.__init__).parameters.keys() - {'self', 'cfg'}))
def test_every_setting_of_the_runner_may_be_new(name):
    assert load_config({'model': {'type': 'ImageColorizer'}}, {f'{name}.x': 1})[name].x == 1


def test_recipes_of_the_installed_package_can_be_inherited(tmp_path, monkeypatch):
    """As mmengine does it, from the folder that `mim` looks for; test_packaging.py does so with a wheel."""
    package = tmp_path / 'insta_colorization'
    (package / '.mim').mkdir(parents=True)
    (package / '.mim' / 'configs').symlink_to(config_folder())
    (package / '.mim' / 'model-index.yml').symlink_to(config_folder().parent / 'model-index.yml')
    monkeypatch.setattr('mmengine.config.config.get_installed_path', lambda name: str(package))
    monkeypatch.setattr('mmengine.config.config.is_installed', lambda name: name == 'insta_colorization')
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'insta_colorization::insta/insta_full_cocostuff_256x256.py'\ntrain_cfg = dict(max_iters=7)\n"
    )

    config = load_config(tmp_path / 'mine.py')

    assert config.train_cfg.max_iters == 7
    assert isinstance(build_model(config.model), Colorizer)
