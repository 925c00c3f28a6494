"""Both training stages of semantic-driven colorization on a few synthetic photos: they learn, and resume exactly."""

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

from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.models import ImageColorizer
from insta_colorization.structures import SEMANTIC_CLASSES

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / 'configs' / 'semantic' / 'photos'
tool = load_script('tools/test.py')

GRASS, SKY = (SEMANTIC_CLASSES.index(name) for name in ('grass', 'sky'))
SIZE = 64

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Four photos of sky above grass, whose lightness does not tell which is which, and their maps."""
    folder = tmp_path_factory.mktemp('semantic')
    for name in ('photos', 'maps'):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        ids = np.full((SIZE, SIZE), GRASS, np.uint8)
        ids[: rng.integers(20, 44)] = SKY
        texture = rng.normal(0, np.where(ids == GRASS, 14, 2))[..., None]
        colours = np.where((ids == GRASS)[..., None], (70, 130, 50), (90, 115, 160))
        Image.fromarray((colours + texture).clip(0, 255).astype(np.uint8)).save(folder / 'photos' / f'{number}.png')
        Image.fromarray(ids).save(folder / 'maps' / f'{number}.png')
    return folder


@pytest.fixture(scope='module')
def train(folder):
    """Trains a stage with its recipe, made small; gives the runner and the loss of each iteration."""

    def train(
        stage: str, iters: int, work: str, kind: str = 'photos_w025_128x128', **settings: object
    ) -> tuple[Runner, list[float]]:
        cfg = Config.fromfile(RECIPES / f'semantic_{stage}_{kind}.py')
        for network in ('segment_net', 'color_net'):
            if network in cfg.model:
                cfg.model[network].width = 1 / 16
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.update(batch_size=2, num_workers=0, persistent_workers=False)
            loader.dataset.update(data_root=str(folder / 'photos'), ann_file='')
            for step in loader.dataset.pipeline:
                if step.type == 'ResizePhoto':
                    step.size = SIZE
                if step.type == 'LoadSemanticMap':
                    step.folder = str(folder / 'maps')
        # Not in bfloat16, which processors round in their own ways.
        cfg.optim_wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': 'Adam', 'lr': 5e-3}}
        runner = trained(cfg, folder / work, iters, **settings)
        history, _ = runner.message_hub.get_scalar('train/loss').data
        return runner, history.tolist()

    return train


@pytest.fixture(scope='module')
def segmenter(train) -> tuple[Runner, list[float]]:
    return train('segment', 10, 'segment')


@pytest.fixture(scope='module')
def colours(train, segmenter, folder) -> tuple[Runner, list[float]]:
    return train('color', 8, 'color', load_from=str(folder / 'segment' / 'iter_10.pth'))


def test_the_segmenter_learns(segmenter):
    runner, losses = segmenter

    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert 0 <= runner.message_hub.get_scalar('val/map/accuracy').current() <= 1


def test_colours_learn_from_the_first_stages_segmenter(colours, segmenter, folder):
    runner, losses = colours

    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    assert runner.message_hub.get_scalar('val/semantic/ab_error_sky').current() > 0
    torch.testing.assert_close(
        runner.model.segment_net.state_dict(), segmenter[0].model.segment_net.state_dict(), rtol=0, atol=0
    )
    checkpoint = load_checkpoint(folder / 'color' / 'iter_8.pth')
    assert checkpoint.networks == ('segment_net', 'color_net')
    assert colorizer_for(checkpoint, {'type': 'SemanticColorizer'}).color_net.one_hot


@pytest.mark.parametrize('source', ['predicted', 'truth'])
@pytest.mark.usefixtures('own_mmengine')
def test_measuring(colours, folder, source):
    loader = 'test_dataloader'
    settings = [f'{loader}.dataset.data_root={folder / "photos"}', f'{loader}.dataset.ann_file=']
    settings += [f'{loader}.dataset.pipeline.1.folder={folder / "maps"}', f'{loader}.num_workers=0']
    settings += [f'{loader}.dataset.pipeline.2.size={SIZE}', f'model.map_source={source}']
    recipe = RECIPES / 'semantic_color_photos_w025_128x128.py'
    out = folder / f'{source}.json'

    arguments = [recipe, folder / 'color' / 'iter_8.pth', '--out', out, '--work-dir', folder / 'logs']
    assert tool.main([*map(str, arguments), '--cfg-options', *settings]) == 0

    results = json.loads(out.read_text())
    metrics, protocol = results['metrics'], results['protocol']
    assert protocol['map_source'] == source
    assert protocol['pixels_of_known_class'] == 4 * SIZE**2
    assert set(metrics['semantic']) == {f'ab_error{name}' for name in ('', '_class_mean', '_sky', '_grass')}
    assert (metrics['map']['mIoU'] == 1) == (source == 'truth')
    assert {entry['class'] for entry in results['photos'][0]['semantic']} == {'sky', 'grass'}
    assert metrics['image']['PSNR'] > 0


def test_a_run_that_is_resumed_ends_with_the_same_weights(colours, train, folder):
    resumed, _ = train('color', 8, 'resumed', load_from=str(folder / 'color' / 'iter_4.pth'), resume=True)

    torch.testing.assert_close(resumed.model.state_dict(), colours[0].model.state_dict(), rtol=0, atol=0)


class TestLight:
    """The recipes on the light encoder, whose networks begin with small colour weights."""

    @pytest.fixture(scope='class')
    def start(self, folder) -> Path:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            weights = ImageColorizer({'type': 'LiteBackbone', 'width': 1 / 16}).state_dict()
        return save_checkpoint(weights, folder / 'colours.safetensors')[0]

    @pytest.fixture(scope='class')
    def first(self, train, start) -> tuple[Runner, list[float]]:
        settings = {'model.segment_net.weights': str(start), 'custom_hooks': [], 'optim_wrapper.optimizer.lr': 3e-2}
        return train('segment', 8, 'light', 'lite_160x160', **settings)

    def test_the_segmenter_learns_on_the_encoder_of_the_colour_weights(self, first, start):
        runner, losses = first

        assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
        encoder = load_checkpoint(start).state_dict
        for name, value in runner.model.segment_net.encoder.state_dict().items():
            torch.testing.assert_close(value, encoder[f'image_net.encoder.{name}'], rtol=0, atol=0)

    def test_colours_learn_on_the_same_encoder_and_resume_exactly(self, first, train, start, folder):
        settings = {'model.color_net.weights': str(start), 'custom_hooks': []}
        settings['load_from'] = str(folder / 'light' / 'iter_8.pth')
        runner, losses = train('color', 6, 'light_colours', 'lite_160x160', **settings)

        assert np.mean(losses[-2:]) < 0.95 * np.mean(losses[:2])
        networks = runner.model.segment_net, runner.model.color_net
        torch.testing.assert_close(*(network.encoder.state_dict() for network in networks), rtol=0, atol=0)
        settings |= {'load_from': str(folder / 'light_colours' / 'iter_3.pth'), 'resume': True}
        resumed, _ = train('color', 6, 'light_resumed', 'lite_160x160', **settings)
        torch.testing.assert_close(resumed.model.state_dict(), runner.model.state_dict(), rtol=0, atol=0)
