"""The small recipe of captions on a few made-up photos: it learns, and resumes exactly."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from scripts import load_script
from small_training import trained

from insta_colorization.apis import Predictor

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / 'configs' / 'language' / 'photos' / 'language_words_photos_64x64.py'
COLOURS = {'red': (200, 60, 50), 'blue': (60, 90, 190), 'green': (70, 150, 60)}
SIZE, ITERS = 32, 16
FIGURES = ('before', 'after', 'swapped', 'outside', 'plain', 'told', 'spread')

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Six photos of a bus, as light in each colour, their captions, and true boxes with masks."""
    folder = tmp_path_factory.mktemp('language')
    (folder / 'photos').mkdir()
    rng = np.random.default_rng(0)
    captions, images, annotations = {}, [], []
    for number in range(6):
        name, colour = list(COLOURS.items())[number % 3]
        pixels = np.full((40, 40, 3), 128.0)
        pixels[8:32, 4:36] = np.array(colour) * 110 / np.dot(colour, (0.2125, 0.7154, 0.0721))
        pixels += rng.normal(0, 6, (40, 40, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / 'photos' / f'{number}.png')
        captions[f'{number}.png'] = [f'a {name} bus', f'the bus is {name}']
        images.append({'id': number, 'file_name': f'{number}.png', 'width': 40, 'height': 40})
        polygon = [[5, 9, 35, 9, 35, 31, 5, 31]]
        annotations.append({'image_id': number, 'bbox': [4, 8, 32, 24], 'segmentation': polygon, 'category_id': 6})
    (folder / 'captions.json').write_text(json.dumps(captions))
    content = {'images': images, 'annotations': annotations, 'categories': [{'id': 6, 'name': 'bus'}]}
    (folder / 'true.json').write_text(json.dumps(content))
    return folder


@pytest.fixture(scope='module')
def train(folder):
    """Trains with the recipe, made small; gives the runner and the loss of each iteration."""

    def train(work: str, **settings: object) -> tuple[Runner, dict[str, list[float]]]:
        cfg = Config.fromfile(RECIPE)
        cfg.model.language_net.update(
            encoder_width=32, encoder_depth=1, encoder_heads=2, decoder_width=32, decoder_depth=1, decoder_heads=2
        )
        cfg.model.language_net.drop_path = 0.2
        cfg.model.text_encoder.update(captions=str(folder / 'captions.json'), least=1, width=16)
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.batch_size = 3
            loader.dataset.update(data_root=str(folder / 'photos'), ann_file='')
            for step in loader.dataset.pipeline:
                if step.type == 'ResizePhoto':
                    step.size = SIZE
                if step.type == 'LoadCaption':
                    step.file = str(folder / 'captions.json')
        cfg.optim_wrapper.optimizer.lr = 3e-3
        runner = trained(cfg, folder / work, ITERS, **settings)
        names = ('loss', 'loss_ab', 'loss_counter')
        return runner, {name: runner.message_hub.get_scalar(f'train/{name}').data[0].tolist() for name in names}

    return train


@pytest.fixture(scope='module')
def whole(train) -> tuple[Runner, dict[str, list[float]]]:
    return train('whole')


def test_the_loss_falls(whole):
    runner, losses = whole

    assert np.mean(losses['loss'][-4:]) < 0.8 * np.mean(losses['loss'][:4])
    assert max(losses['loss_counter']) > 0
    assert runner.message_hub.get_scalar('val/image/PSNR').current() > 10


def test_a_run_that_is_resumed_ends_with_the_same_weights(whole, train, folder):
    resumed, _ = train('resumed', load_from=str(folder / 'whole' / f'iter_{ITERS // 2}.pth'), resume=True)

    torch.testing.assert_close(resumed.model.state_dict(), whole[0].model.state_dict(), rtol=0, atol=0)


def test_the_checkpoint_colours_by_words(whole, folder):
    predictor = Predictor(RECIPE, folder / 'whole' / f'iter_{ITERS}.pth', 'cpu', input_size=SIZE)
    photo = np.full((20, 30), 110, np.uint8)

    red, blue = (predictor.predict(photo, caption=f'a {name} bus').sample.pred_ab for name in ('red', 'blue'))

    assert not torch.equal(red, blue)


@pytest.fixture
def measured(folder, own_mmengine):
    """Measures by `tools/test.py` how captions are followed; gives the results."""
    tool = load_script('tools/test.py')

    def measured(recipe: Path, *arguments: object, **dataset: object) -> dict:
        cfg = Config.fromfile(recipe)
        cfg.input_size = SIZE
        if cfg.model.type == 'InstColorizer':
            cfg.model = {'type': 'ImageColorizer', 'image_net': {'type': 'ColorizationBackbone'}}
        cfg.test_dataloader.update(batch_size=3, num_workers=0, persistent_workers=False)
        cfg.test_dataloader.dataset.update(data_root=str(folder / 'photos'), **dataset)
        cfg.test_dataloader.dataset.gt_instances = str(folder / 'true.json')
        for step in cfg.test_dataloader.dataset.pipeline:
            step.update({'size': SIZE} if 'size' in step else {})
            step.update({'file': str(folder / 'captions.json')} if 'file' in step else {})
        cfg.dump(folder / 'measured.py')
        out = folder / 'measured.json'
        given = [folder / 'measured.py', *arguments, '--out', out, '--work-dir', folder / 'logs']
        assert tool.main([*map(str, given)]) == 0
        return json.loads(out.read_text())

    return measured


def test_how_a_network_of_words_follows_captions(whole, measured, folder):
    results = measured(RECIPE, folder / 'whole' / f'iter_{ITERS}.pth')

    captions, protocol = results['metrics']['caption'], results['protocol']
    assert (protocol['num_captions'], protocol['num_colours']) == (12, 12)
    assert captions.keys() == {f'{name}{end}' for name in FIGURES for end in ('', '_median')}
    assert len(results['photos'][0]['caption']) == 2
    assert results['metrics']['image']['PSNR'] > 0


def test_the_default_follows_captions_by_hints(image_weights, measured, folder):
    recipe = RECIPE.with_name('language_hints_lite_128x128.py')

    results = measured(recipe, image_weights, instances=str(folder / 'true.json'))

    captions = results['metrics']['caption']

    assert captions['after'] < 8 < captions['before']
    assert captions['swapped'] == 1
    assert captions['outside'] < 5


def test_a_baseline_follows_none(measured):
    results = measured(RECIPE)

    assert results['not_computed'] == {'captions': 'a baseline follows no captions'}
    assert results['metrics']['image']['PSNR'] > 0
