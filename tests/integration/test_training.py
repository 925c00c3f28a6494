"""The recipes and the commands that train, from photos to a shipped file that colours."""

import json
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import LinearLR
from mmengine.registry import DefaultScope
from PIL import Image

from insta_colorization.apis.inferencer import ColorizationInferencer
from insta_colorization.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    METRICS,
    OPTIM_WRAPPERS,
    SCOPE,
    TRANSFORMS,
    build_model,
)

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path for path in (ROOT / 'configs' / 'insta').rglob('*.py') if '_base_' not in path.parts)
LOADERS = {'train_dataloader', 'val_dataloader', 'test_dataloader'}
TINY = 1 / 16
ITERS = 12

pytestmark = pytest.mark.usefixtures('own_mmengine')


def by_name(path: Path) -> str:
    return path.stem


class TestRecipes:
    @pytest.mark.parametrize('path', CONFIGS, ids=by_name)
    def test_the_model_builds_and_colours(self, path):
        cfg = Config.fromfile(path)
        for network in ('image_net', 'instance_net', 'fusion_net'):
            if network in cfg.model:
                cfg.model[network].get('backbone', cfg.model[network]).width = TINY

        model = build_model(cfg.model).eval()

        side = cfg.input_size // 4
        with torch.inference_mode():
            assert model(lightness=torch.zeros(1, 1, side, side)).shape == (1, 2, side, side)

    @pytest.mark.parametrize('path', CONFIGS, ids=by_name)
    def test_every_part_is_known(self, path):
        cfg = Config.fromfile(path)

        assert cfg.default_scope == SCOPE
        with DefaultScope.overwrite_default_scope(SCOPE):
            for loader in LOADERS & cfg.keys():
                assert DATASETS.get(cfg[loader].dataset.type)
                assert DATA_SAMPLERS.get(cfg[loader].sampler.type)
                for step in cfg[loader].dataset.pipeline:
                    assert TRANSFORMS.get(step.type)
            for metric in [*cfg.get('val_evaluator', []), *cfg.test_evaluator]:
                assert METRICS.get(metric.type)
            for hook in cfg.get('custom_hooks', []):
                assert HOOKS.get(hook.type)
            assert OPTIM_WRAPPERS.get(cfg.get('optim_wrapper', {'type': 'OptimWrapper'})['type'])

    @pytest.mark.parametrize('path', CONFIGS, ids=by_name)
    def test_photos_get_the_networks_size(self, path):
        cfg = Config.fromfile(path)

        for loader in LOADERS & cfg.keys():
            pipeline = cfg[loader].dataset.pipeline
            sizes = [step.size for step in pipeline if step.type in ('ResizePhoto', 'CropInstances')]
            assert sizes[-1] == cfg.input_size, loader

    @pytest.mark.parametrize('data', ['cocostuff', 'imagenet'])
    @pytest.mark.parametrize(
        ('stage', 'lr', 'epochs', 'start'),
        [('full', 1e-5, 2, None), ('instance', 5e-5, 5, 'full'), ('fusion', 2e-5, 2, 'instance')],
    )
    def test_the_papers_settings(self, data, stage, lr, epochs, start):
        cfg = Config.fromfile(ROOT / 'configs' / 'insta' / f'insta_{stage}_{data}_256x256.py')

        assert dict(cfg.optim_wrapper.optimizer) == {'type': 'Adam', 'lr': lr, 'betas': (0.99, 0.999)}
        assert cfg.train_cfg.max_epochs == epochs
        assert cfg.train_dataloader.batch_size == 16
        assert cfg.input_size == 256
        assert build_model(cfg.model.losses.ab).loss_weight == 10
        if start:
            before = Config.fromfile(ROOT / 'configs' / 'insta' / f'insta_{start}_{data}_256x256.py')
            last = before.train_cfg.max_epochs
            assert cfg.load_from == f'work_dirs/insta_{start}_{data}_256x256/epoch_{last}.pth'
        else:
            assert cfg.load_from is None

    @pytest.mark.parametrize(
        ('recipe', 'start'),
        [
            ('insta_full_photos_w025_64x64', None),
            ('insta_instance_photos_w025_64x64', 'insta_full_photos_w025_64x64'),
            ('insta_fusion_photos_w025_64x64', 'insta_instance_photos_w025_64x64'),
            ('insta_full_photos_w025_128x128', 'insta_full_photos_w025_64x64'),
            ('insta_instance_photos_w025_128x128', 'insta_full_photos_w025_128x128'),
            ('insta_fusion_photos_w025_128x128', 'insta_instance_photos_w025_128x128'),
            ('insta_full_lite_tuned_128x128', 'insta_full_lite_128x128'),
            ('insta_instance_lite_128x128', 'insta_full_lite_tuned_128x128'),
            ('insta_fusion_lite_128x128', 'insta_instance_lite_128x128'),
        ],
    )
    def test_the_small_recipes_follow_each_other(self, recipe, start):
        folder = ROOT / 'configs' / 'insta' / 'photos'
        cfg = Config.fromfile(folder / f'{recipe}.py')

        assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters
        if start is None:
            assert cfg.load_from is None
        else:
            last = Config.fromfile(folder / f'{start}.py').train_cfg.max_iters
            assert cfg.load_from == f'work_dirs/{start}/iter_{last}.pth'

    @pytest.mark.parametrize(
        ('stage', 'flat', 'total', 'lr'),
        [('full', 100, 150, 5e-4), ('instance', 100, 150, 5e-4), ('fusion', 10, 30, 5e-5)],
    )
    def test_the_released_schedule(self, stage, flat, total, lr):
        cfg = Config.fromfile(ROOT / 'configs' / 'insta' / f'insta_{stage}_released_cocostuff_256x256.py')
        (settings,) = cfg.param_scheduler
        settings.pop('type')
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=cfg.optim_wrapper.optimizer.lr)
        scheduler = LinearLR(optimizer, **settings)

        rates = []
        for _ in range(cfg.train_cfg.max_epochs):
            rates.append(optimizer.param_groups[0]['lr'])
            scheduler.step()

        # The published code's rule: 1 - max(0, epoch + 1 - flat) / (decay + 1) for epochs counted from 0.
        assert rates == pytest.approx([lr * (1 - max(0, e + 1 - flat) / (total - flat + 1)) for e in range(total)])

    @pytest.mark.parametrize('width', [0.5, 0.25])
    @pytest.mark.parametrize('size', [256, 128])
    @pytest.mark.parametrize('stage', ['full', 'instance', 'fusion'])
    def test_widths_and_sizes_are_bases(self, tmp_path, stage, size, width):
        base = ROOT / 'configs' / 'insta' / '_base_'
        names = [f'models/insta_{stage}_w{int(width * 100):03}', f'pipelines/{stage}_{size}x{size}']
        own = tmp_path / 'own.py'
        own.write_text(f'_base_ = {[str(base / f"{name}.py") for name in names]}')

        cfg = Config.fromfile(own)

        networks = [value for name, value in cfg.model.items() if name.endswith('_net')]
        assert [network.width for network in networks] == [width] * {'full': 1, 'instance': 2, 'fusion': 3}[stage]
        assert cfg.input_size == size
        assert cfg.train_pipeline[-2].size == size


def run_tool(script: str, *args: object, cwd: Path) -> str:
    done = forked.run(ROOT / 'tools' / script, *args, cwd=cwd)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def synthetic_photo(generator: np.random.Generator) -> Image.Image:
    """Sky over grass, with noise: there is a colour to learn from the lightness."""
    pixels = generator.normal(0, 12, (70, 90, 3))
    horizon = generator.integers(20, 50)
    pixels[:horizon] += (120, 170, 235)
    pixels[horizon:] += (60, 130, 40)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    """A folder in which photos were prepared, counted and trained on; every command ran in it, not in the checkout."""
    folder = tmp_path_factory.mktemp('training')
    source = folder / 'source' / 'set'
    source.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(24):
        synthetic_photo(generator).save(source / f'{index:02}.jpg')
    Image.new('RGB', (80, 60), (90, 90, 90)).save(source / 'grey.png')
    (source / 'broken.jpg').write_bytes(b'no photo')
    synthetic_photo(generator).save(source / '00.png')

    counted = run_tool(
        'dataset_converters/prepare_photos.py', 'source', '--size', 40, '--out', 'photos', '--jobs', 1, cwd=folder
    )
    (folder / 'prepare.log').write_text(counted)
    run_tool('dataset_converters/ab_prior.py', 'photos', '--out', 'prior.json', cwd=folder)
    options = [
        'model.losses.classes.prior=prior.json',
        f'model.image_net.width={TINY}',
        f'train_cfg.max_iters={ITERS}',
        'train_cfg.val_interval=6',
        'param_scheduler.0.start_factor=1.0',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=6',
        'custom_hooks.0.recalibration_batches=2',
        'custom_hooks.0.momentum=0.2',
    ]
    for loader in ('train_dataloader', 'val_dataloader'):
        options += [f'{loader}.batch_size=8', f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
        resize = 3 if loader == 'train_dataloader' else 1
        options += [f'{loader}.dataset.data_root=photos', f'{loader}.dataset.pipeline.{resize}.size=32']
    config = ROOT / 'configs' / 'insta' / 'photos' / 'insta_full_photos_w025_64x64.py'
    log = run_tool('train.py', config, '--work-dir', 'work', '--cfg-options', *options, cwd=folder)
    (folder / 'train.log').write_text(log)
    return folder


def logged(folder: Path) -> list[dict]:
    (scalars,) = (folder / 'work').glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in scalars.read_text().splitlines()]


@pytest.mark.slow
class TestTraining:
    def test_photos_are_prepared(self, trained):
        assert '1 broken, 1 grey, 24 kept, 1 of a name that another photo has' in (trained / 'prepare.log').read_text()
        train, val = ((trained / 'photos' / f'{name}.txt').read_text().split() for name in ('train', 'val'))
        assert len(train) + len(val) == 24
        assert len(val) > 0
        assert not set(train) & set(val)
        assert {Image.open(trained / 'photos' / name).size for name in train} == {(40, 40)}

    def test_the_prior_is_that_of_the_photos(self, trained):
        prior = np.array(json.loads((trained / 'prior.json').read_text()))

        assert prior.shape == (529,)
        assert prior.sum() == pytest.approx(1, abs=1e-3)
        a, b = (10 * (index - 11) for index in divmod(int(prior.argmax()), 23))
        assert abs(a) + abs(b) > 20  # sky and grass, no grey

    def test_the_loss_falls(self, trained):
        losses = [record['loss'] for record in logged(trained) if 'loss' in record]

        assert len(losses) == ITERS
        assert np.isfinite(losses).all()
        assert np.mean(losses[-3:]) < 0.95 * np.mean(losses[:3])

    def test_it_is_validated(self, trained):
        values = [record['image/PSNR'] for record in logged(trained) if 'image/PSNR' in record]

        assert len(values) == 2
        assert min(values) > 10

    def test_no_registry_is_missing(self, trained):
        assert 'Failed to search registry' not in (trained / 'train.log').read_text()

    def test_it_goes_on_from_the_last_checkpoint(self, trained):
        config = next((trained / 'work').glob('*.py'))

        log = run_tool(
            'train.py',
            config,
            *('--work-dir', 'work', '--resume', '--cfg-options', f'train_cfg.max_iters={ITERS + 2}'),
            cwd=trained,
        )

        assert f'resumed epoch: 0, iter: {ITERS}' in log
        assert (trained / 'work' / f'iter_{ITERS + 2}.pth').is_file()

    def test_what_is_published_colours(self, trained):
        config = next((trained / 'work').glob('*.py'))
        run_tool(
            'model_converters/publish_weights.py', config, f'work/iter_{ITERS}.pth', 'tiny.safetensors', cwd=trained
        )

        weights = trained / 'tiny.safetensors'
        inferencer = ColorizationInferencer(weights=weights, device='cpu', detector='none', show_progress=False)
        photo = np.asarray(synthetic_photo(np.random.default_rng(5)).convert('L'))
        picture = inferencer(photo)['visualization'][0]

        assert weights.stat().st_size < 2**20
        assert inferencer.model.image_net.width == TINY
        assert type(inferencer.model.decoder).__name__ == 'AnnealedMeanDecoder'
        assert picture.shape == (70, 90, 3)
        assert np.ptp(picture.astype(int), axis=-1).mean() > 5
