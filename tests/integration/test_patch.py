"""PatchColorization from the command line: the demo, training and measuring, on tiny networks."""

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import forked
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from scripts import load_script

from insta_colorization.checkpoints import save_checkpoint
from insta_colorization.imaging.photo import read_photo
from insta_colorization.models.patch import PatchColorizer
from insta_colorization.registry import build_model

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'patch'
CONFIG = CONFIGS / 'patch_eccv16_256x256.py'


demo = load_script('demo/colorization_demo.py')


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> Path:
    """A narrow ECCV16 file in the released form, with colours far from grey."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PatchColorizer({'type': 'Eccv16Network', 'width': 1 / 16})
        model.eccv_net.class_head.weight.data.normal_(std=10)
    return save_checkpoint(model.state_dict(), tmp_path_factory.mktemp('weights') / 'eccv16.pth', 'eccv16')[0]


class Outcome(NamedTuple):
    """Exit status, results by name, and everything printed and logged."""

    status: int
    results: dict[str, Path]
    text: str

    def record(self, name: str) -> dict[str, Any]:
        return json.loads(self.results[f'{name}.json'].read_text())


@pytest.fixture
def run(tmp_path, capsys, caplog, weights) -> Callable[..., Outcome]:
    def run(*args: object, model: Path | None = None, config: Path = CONFIG, out: str = 'out') -> Outcome:
        caplog.clear()
        capsys.readouterr()
        caplog.set_level(logging.INFO, 'insta_colorization')
        fixed = [config, model or weights, '--device', 'cpu', '--out-dir', tmp_path / out, '--json']
        try:
            status = demo.main([str(arg) for arg in (*fixed, '--input-size', 64, *args)])
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        results = {str(p.relative_to(tmp_path / out)): p for p in (tmp_path / out).rglob('*') if p.is_file()}
        return Outcome(status, results, '\n'.join([printed.out, printed.err, *caplog.messages]))

    return run


def gray(height: int = 48, width: int = 64) -> Image.Image:
    values = 0.5 + 0.4 * np.sin(np.linspace(0, 9, height))[:, None] * np.cos(np.linspace(0, 7, width))
    return Image.fromarray((values * 255).astype(np.uint8))


@pytest.fixture
def photo(tmp_path) -> Path:
    gray().save(tmp_path / 'photo.png')
    return tmp_path / 'photo.png'


@pytest.fixture
def boxes(tmp_path) -> Path:
    masks = np.zeros((10, 48, 64), bool)
    masks[:, 10:30, 10:40] = True
    box = [[4, 4, 44, 36]] * 10
    np.savez(tmp_path / 'boxes.npz', bbox=box, masks=masks, scores=np.linspace(0.9, 0.5, 10))
    return tmp_path / 'boxes.npz'


def encoded(image: Image.Image, suffix: str) -> bytes:
    out = io.BytesIO()
    image.save(out, {'jpg': 'JPEG'}.get(suffix, suffix.upper()))
    return out.getvalue()


RGB = Image.merge('RGB', [gray()] * 3)
SIXTEEN = cv2.imencode('.png', np.asarray(gray()).astype(np.uint16) * 257)[1].tobytes()


class TestDemo:
    @pytest.mark.parametrize('native', [False, True], ids=['own size', 'native size'])
    @pytest.mark.parametrize(
        ('name', 'data'),
        [
            pytest.param('a.png', encoded(RGB.convert('P'), 'png'), id='palette'),
            pytest.param('a.png', encoded(RGB.convert('RGBA'), 'png'), id='RGBA'),
            pytest.param('a.png', encoded(RGB.convert('LA'), 'png'), id='grey and alpha'),
            pytest.param('a.jpg', encoded(RGB.convert('CMYK'), 'jpg'), id='CMYK'),
            pytest.param('a.png', encoded(RGB.convert('1'), 'png'), id='1-bit'),
            pytest.param('a.png', SIXTEEN, id='16-bit'),
        ],
    )
    def test_photos_of_every_kind(self, run, tmp_path, boxes, name, data, native):
        (tmp_path / name).write_bytes(data)

        outcome = run('--img', tmp_path / name, '--boxes', boxes, *['--native-size'] * native)

        assert outcome.status == 0, outcome.text
        picture = read_photo(outcome.results['a.png'])
        assert picture.size == (48, 64)
        assert picture.is_colour or Image.open(tmp_path / name).mode == '1'  # black and white hold no colour
        assert picture.pixels.dtype == (np.uint16 if data is SIXTEEN and not native else np.uint8)

    def test_boxes_bring_their_masks(self, run, photo, boxes):
        with_masks = run('--img', photo, '--boxes', boxes)
        without = run('--img', photo, '--detector', 'none', out='without')

        changed = read_photo(with_masks.results['photo.png']).pixels != read_photo(without.results['photo.png']).pixels
        rows, columns = changed.any(axis=-1).nonzero()
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 10, 39)
        assert with_masks.record('photo.png')['masks'] == ['mask']
        record = without.record('photo.png')
        assert (record['status'], record['size'], record['network']) == ('done', [48, 64], 'eccv_net')
        assert record['boxes'] == record['scores'] == record['masks'] == []

    def test_the_published_pipeline_takes_all_boxes(self, run, photo, boxes):
        own = run('--img', photo, '--boxes', boxes).record('photo.png')
        native = run('--img', photo, '--boxes', boxes, '--native-size', out='native').record('photo.png')

        assert (len(own['boxes']), len(native['boxes'])) == (1, 10)

    def test_a_large_photo_at_the_published_size(self, run, tmp_path):
        gray(90, 1400).save(tmp_path / 'wide.png')
        np.savez(tmp_path / 'wide.npz', bbox=[[100, 10, 700, 80]])

        native = run('--img', tmp_path / 'wide.png', '--boxes', tmp_path / 'wide.npz', '--native-size')
        own = run('--img', tmp_path / 'wide.png', '--boxes', tmp_path / 'wide.npz', out='own')

        assert read_photo(native.results['wide.png']).size == (82, 1280)
        assert read_photo(own.results['wide.png']).size == (90, 1400)
        assert native.record('wide.png')['boxes'] == own.record('wide.png')['boxes'] == [[100, 10, 700, 80]]
        assert (native.record('wide.png')['masks'], own.record('wide.png')['masks']) == (['box'], ['grabcut'])

    def test_names_that_differ_behind_the_first_dot(self, run, tmp_path):
        folder = tmp_path / 'album'
        folder.mkdir()
        for name in ('a.b.jpg', 'a.c.jpg'):
            gray().save(folder / name)

        outcome = run('--img', folder, '--detector', 'opencv', '--batch-size', 2)

        assert {'a.b.png', 'a.c.png'} <= set(outcome.results)
        assert '2 coloured, 0 failed' in outcome.text

    def test_settings_of_the_config(self, run, photo, boxes):
        pictures = [
            read_photo(run('--img', photo, '--boxes', boxes, *options, out=f'{number}').results['photo.png']).pixels
            for number, options in enumerate(
                [[], ['--cfg-options', 'model.curve_strength=0'], ['--cfg-options', 'model.feather=0.4']]
            )
        ]

        assert (pictures[0] != pictures[1]).any()
        assert (pictures[0] != pictures[2]).any()

    def test_settings_without_a_config(self, capsys):
        with pytest.raises(SystemExit):
            demo.main(['--cfg-options', 'model.curve_strength=0'])

        assert '--cfg-options needs the config that it changes' in capsys.readouterr().err

    def test_networks_of_inst_colorizer(self, run, photo, boxes, fused_weights):
        outcome = run('--img', photo, '--boxes', boxes, model=fused_weights)

        assert outcome.status == 0, outcome.text
        assert outcome.record('photo.png')['network'] == 'instance_net'

    def test_an_eccv16_file_for_inst_colorizer(self, run, photo):
        outcome = run('--img', photo, config=ROOT / 'configs/insta/insta_fusion_cocostuff_256x256.py')

        assert outcome.status == 1
        assert "the config's model must be one of PatchColorizer, but is InstColorizer" in outcome.text

    def test_fusion_weights_of_what_fuses_nothing(self, run, photo):
        assert 'there are no fusion weights to show' in run('--img', photo, '--show-fusion', '3').text


RECIPES = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)


@pytest.mark.parametrize('recipe', RECIPES, ids=lambda path: path.stem)
def test_recipes_build(recipe):
    cfg = Config.fromfile(recipe)
    for network in ('eccv_net', 'image_net', 'instance_net'):
        if network in cfg.model:
            cfg.model[network].width = 1 / 16
    model = build_model(cfg.model)

    assert type(model) is PatchColorizer
    decoder = type(model.decoder).__name__
    assert decoder == ('AnnealedMeanDecoder' if 'classes' in model.losses else 'RegressionDecoder')


def test_training_is_that_of_the_paper():
    cfg = Config.fromfile(CONFIGS / 'patch_eccv16_imagenet_256x256.py')
    model = build_model({**cfg.model, 'eccv_net': {'type': 'Eccv16Network', 'width': 1 / 16}})

    loss = model.losses['classes']
    assert (loss.targets, len(loss.bins), len(loss.class_weights)) == ('soft', 313, 313)
    # Half of the distribution is uniform, so that no bound is reached.
    assert loss.class_weights.max() < 1000
    assert (model.decoder.temperature, len(model.decoder.centres)) == (0.38, 313)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.betas, optimizer.weight_decay) == ('Adam', 3e-5, (0.9, 0.99), 1e-3)
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_iters) == (40, 500_000)


@pytest.mark.slow
class TestTrainingAndMeasuring:
    def run(self, script: str, *arguments: object, cwd: Path) -> None:
        done = forked.run(ROOT / script, *arguments, cwd=cwd)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]

    @pytest.fixture(scope='class')
    def folder(self, tmp_path_factory) -> Path:
        """Four photos with a true box and a mask each, and what two iterations of training leave."""
        folder = tmp_path_factory.mktemp('patch')
        (folder / 'photos').mkdir()
        rng = np.random.default_rng(0)
        images, annotations = [], []
        for index in range(4):
            coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
            coarse.resize((90, 70), Image.Resampling.BICUBIC).save(folder / 'photos' / f'{index}.png')
            images.append({'id': index, 'file_name': f'{index}.png', 'width': 90, 'height': 70})
            polygon = [20, 10, 70, 10, 45, 60]
            annotation = {'id': index, 'image_id': index, 'bbox': [20, 10, 50, 50], 'segmentation': [polygon]}
            annotations.append({**annotation, 'iscrowd': 0, 'score': 0.9})
        (folder / 'true.json').write_text(json.dumps({'images': images, 'annotations': annotations}))
        (folder / 'tiny.py').write_text(
            f'_base_ = [{str(CONFIGS / "photos" / "patch_eccv16_photos_w025_64x64.py")!r}]\n'
            'model = dict(eccv_net=dict(width=1 / 16))\n'
            'train_cfg = dict(max_iters=2, val_interval=2)\n'
            'param_scheduler = []\n'
            'custom_hooks = []\n'
            "photos = dict(data_root='photos', ann_file='')\n"
            'train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=photos)\n'
            'val_dataloader = dict(batch_size=2, num_workers=0, dataset=photos)\n'
        )
        self.run('tools/train.py', 'tiny.py', '--work-dir', 'work', cwd=folder)
        return folder

    def measure(self, folder: Path, config: Path, weights: Path, out: str) -> dict[str, Any]:
        loader = 'test_dataloader'
        where = {'data_root': 'photos', 'ann_file': '', 'gt_instances': 'true.json', 'instances': 'true.json'}
        settings = [f'{loader}.dataset.{name}={value}' for name, value in where.items()]
        settings += [f'{loader}.num_workers=0', f'{loader}.batch_size=2']
        self.run(
            *('tools/test.py', config, weights, '--out', out, '--work-dir', out + '.logs'),
            *('--cfg-options', *settings),
            cwd=folder,
        )
        return json.loads((folder / out).read_text())

    def test_a_network_that_was_trained_so(self, folder):
        results = self.measure(folder, CONFIG, folder / 'work' / 'iter_2.pth', 'own.json')

        protocol = results['protocol']
        assert (protocol['model'], protocol['networks']) == ('PatchColorizer', ['eccv_net'])
        assert protocol['paste']['without_masks'] == 'grabcut'
        assert protocol['masks'] == 'those of the boxes; without one grabcut'
        assert protocol['num_photos_fused'] == 4
        assert 0 < results['metrics']['image']['PSNR'] < 60

    def test_the_networks_that_ship(self, folder, fused_weights):
        config = CONFIGS / 'photos' / 'patch_insta_photos_w025_128x128.py'

        results = self.measure(folder, config, fused_weights, 'shipped.json')

        assert results['protocol']['networks'] == ['image_net', 'instance_net']
        assert (results['protocol']['size'], results['protocol']['network_size']) == ([256, 256], 128)
        assert 0 < results['metrics']['image']['PSNR'] < 60
