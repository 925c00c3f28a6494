"""Semantic-driven colorization from the command line, on narrow networks."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from scripts import load_script

from insta_colorization.checkpoints import save_checkpoint
from insta_colorization.imaging.maps import read_map, write_map
from insta_colorization.imaging.photo import read_photo, write_photo
from insta_colorization.models.semantic import SemanticColorizer
from insta_colorization.registry import build_model

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'semantic'
CONFIG = CONFIGS / 'semantic_color_cocopanoptic_352x352.py'
NETWORKS = {'segment_net': {'type': 'GridSegmenter'}, 'color_net': {'type': 'SemanticColorNet'}}

demo = load_script('demo/colorization_demo.py')


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> Path:
    """A folder of the two published files, narrow, with colours far from grey."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SemanticColorizer(**{name: {**cfg, 'width': 1 / 16} for name, cfg in NETWORKS.items()})
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=(1.6 / parameter[0].numel()) ** 0.5)
    folder = tmp_path_factory.mktemp('weights')
    save_checkpoint(model.state_dict(), folder, 'semantic')
    return folder


class Outcome(NamedTuple):
    """Exit status, results by name, and everything printed and logged."""

    status: int
    results: dict[str, Path]
    text: str

    def record(self, name: str) -> dict[str, Any]:
        return json.loads(self.results[f'{name}.json'].read_text())


@pytest.fixture
def run(tmp_path, capsys, caplog, weights) -> Callable[..., Outcome]:
    def run(*args: object, model: Path | None = None, size: int = 64, out: str = 'out') -> Outcome:
        caplog.clear()
        capsys.readouterr()
        caplog.set_level(logging.INFO, 'insta_colorization')
        fixed = [
            CONFIG,
            model or weights,
            '--device',
            'cpu',
            '--out-dir',
            tmp_path / out,
            '--json',
            '--detector',
            'none',
        ]
        try:
            status = demo.main([str(arg) for arg in (*fixed, '--input-size', size, *args)])
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        results = {str(p.relative_to(tmp_path / out)): p for p in (tmp_path / out).rglob('*') if p.is_file()}
        return Outcome(status, results, '\n'.join([printed.out, printed.err, *caplog.messages]))

    return run


def gray(height: int = 48, width: int = 64, dtype: type = np.uint8) -> np.ndarray:
    values = 0.5 + 0.4 * np.sin(np.linspace(0, 9, height))[:, None] * np.cos(np.linspace(0, 7, width))
    return (values * np.iinfo(dtype).max).astype(dtype)


@pytest.fixture
def album(tmp_path) -> Path:
    for name in ('a.jpg', 'b.png'):
        (tmp_path / 'album').mkdir(exist_ok=True)
        write_photo(gray(), tmp_path / 'album' / name)
    return tmp_path / 'album'


def pixels(outcome: Outcome, name: str) -> np.ndarray:
    return read_photo(outcome.results[name]).pixels


class TestDemo:
    def test_two_published_files_colour_a_folder(self, run, album):
        outcome = run('--img', album)

        assert outcome.status == 0, outcome.text
        assert {'a.png', 'b.png'} <= set(outcome.results)
        record = outcome.record('a.png')
        assert (record['network'], record['map'], record['boxes']) == ('color_net', 'predicted', [])
        assert sum(record['classes'].values()) == pytest.approx(1, abs=0.01)

    def test_the_published_size_and_the_windows_picture(self, run, album):
        recorded, window = (
            run('--img', album / 'b.png', '--native-size', *options, size=96, out=f'out{number}')
            for number, options in enumerate(
                [[], ['--cfg-options', 'model.wrap=True', 'model.data_preprocessor.native_order=window']]
            )
        )

        assert pixels(recorded, 'b.png').shape == (96, 96, 3)
        assert (pixels(recorded, 'b.png') != pixels(window, 'b.png')).any()

    def test_saved_maps_are_editable_and_come_back(self, run, album, tmp_path):
        for photo in album.iterdir():
            write_photo(gray(72, 80), photo)  # a map that is larger than the networks' input comes back as it was
        first = run('--img', album, '--save-map', '--show-map')
        again = run('--img', album, '--map', tmp_path / 'out', out='again')

        assert again.status == 0, again.text
        assert Image.open(first.results['a.png.map.png']).mode == 'P'
        assert read_photo(first.results['a.png.classes.png']).size[1] == 3 * 80 + 2 * 6
        for name in ('a.png', 'b.png'):
            np.testing.assert_array_equal(pixels(again, name), pixels(first, name))
            assert again.record(name)['map'] == 'given'

    @pytest.mark.slow
    def test_an_edited_map_of_any_size_changes_colours(self, run, album, tmp_path):
        ids = np.zeros((7, 9), np.uint8)
        write_map(ids, tmp_path / 'plain.png')
        ids[:, 5:] = 50
        write_map(ids, tmp_path / 'sky.png')
        photo = album / 'b.png'

        plain = run('--img', photo, '--map', tmp_path / 'plain.png')
        none = run('--img', photo, '--no-segmenter', out='none')
        sky = run('--img', photo, '--map', tmp_path / 'sky.png', '--save-map', out='sky')

        np.testing.assert_array_equal(pixels(plain, 'b.png'), pixels(none, 'b.png'))
        assert (pixels(plain, 'b.png') != pixels(sky, 'b.png')).any()
        assert read_map(sky.results['b.png.map.png'])[0].tolist() == [0] * 36 + [50] * 28
        assert sky.record('b.png')['classes'] == {'background': 0.5625, 'sky': 0.4375}

    @pytest.mark.parametrize(('height', 'width'), [(1, 1), (40, 12_000)])
    def test_sizes(self, run, tmp_path, height, width):
        write_photo(gray(height, width, np.uint16), tmp_path / 'photo.png')
        write_map(np.full((height, width), 50), tmp_path / 'map.png')

        outcome = run('--img', tmp_path / 'photo.png', '--map', tmp_path / 'map.png', '--save-map', '--show-map')

        assert outcome.status == 0, outcome.text
        picture = read_photo(outcome.results['photo.png'])
        assert (picture.size, picture.pixels.dtype) == ((height, width), np.uint16)


class TestBadInput:
    @pytest.mark.parametrize(
        ('names', 'message'),
        [
            (['a.png'], r'1 of 2 photos have no map'),
            (['a.png', 'b.png', 'c.png'], r'c.png is the map of none of the 2 photos'),
        ],
        ids=['a photo without a map', 'a map without a photo'],
    )
    def test_folders_that_do_not_match(self, run, album, tmp_path, names, message):
        (tmp_path / 'maps').mkdir()
        for name in names:
            write_map(np.zeros((2, 2), np.uint8), tmp_path / 'maps' / name)

        outcome = run('--img', album, '--map', tmp_path / 'maps')

        assert (outcome.status, outcome.results) == (1, {})
        assert message in outcome.text

    def test_a_map_in_other_colours_fails_its_photo_alone(self, run, album, tmp_path):
        (tmp_path / 'maps').mkdir()
        write_map(np.zeros((2, 2), np.uint8), tmp_path / 'maps' / 'a.png')
        Image.new('RGB', (2, 2), (1, 2, 3)).save(tmp_path / 'maps' / 'b.png')

        outcome = run('--img', album, '--map', tmp_path / 'maps')

        assert outcome.status == 1
        assert 'a.png' in outcome.results
        assert 'b.png' not in outcome.results
        assert 'has the colour (1, 2, 3) at x 0, y 0, which is none of the 60 classes' in outcome.text

    def test_a_map_and_none(self, run, album):
        outcome = run('--img', album, '--map', 'map.png', '--no-segmenter')

        assert outcome.status == 2
        assert 'not allowed with argument' in outcome.text

    def test_a_model_without_maps(self, album, tmp_path, image_weights, capsys):
        config = ROOT / 'configs/insta/insta_full_cocostuff_256x256.py'
        fixed = [config, image_weights, '--device', 'cpu', '--img', album, '--out-dir', tmp_path / 'out']

        for option, message in (
            ('--no-segmenter', 'ImageColorizer cannot use map: it uses hints'),
            ('--save-map', 'ImageColorizer knows no classes of pixels, so there is no map to write'),
        ):
            assert demo.main([str(arg) for arg in (*fixed, option)]) == 1
            assert message in capsys.readouterr().err


RECIPES = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)


@pytest.mark.parametrize('recipe', RECIPES, ids=lambda path: path.stem)
def test_recipes_build(recipe):
    cfg = Config.fromfile(recipe)
    for network in NETWORKS:
        if network in cfg.model:
            cfg.model[network].update(width=1 / 16)
            cfg.model[network].pop('weights', None)

    assert build_model(cfg.model).size_divisor in (16, 32)
    assert cfg.input_size % 32 == 0
