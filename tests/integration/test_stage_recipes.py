"""The three training stages one after the other, and the ablations, on a few synthetic photos with boxes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from mmengine_state import isolate_mmengine
from PIL import Image
from safetensors.torch import load_file

from insta_colorization.apis.inferencer import ColorizationInferencer
from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.models import ImageColorizer

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / 'configs' / 'insta' / 'photos'
ABLATIONS = sorted((ROOT / 'configs' / 'insta' / 'ablations').glob('*.py'))
TINY = 1 / 16
SIZE = 32

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('own_mmengine')]


def photo_with_boxes(generator: np.random.Generator) -> tuple[Image.Image, list[list[int]]]:
    """A green photo with two balls whose colours follow from their lightness; boxes as x, y, width, height.

    At 32 x 32 they are just large enough to be measured.
    """
    pixels = generator.normal((70, 130, 60), 8, (64, 64, 3))
    rows, columns = np.mgrid[:64, :64]
    boxes = []
    for x, colour in ((20, (230, 190, 60)), (44, (40, 20, 110))):
        radius, y = generator.integers(17, 20), generator.integers(20, 44)
        pixels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = colour
        boxes.append([int(x - radius), int(y - radius), int(2 * radius), int(2 * radius)])
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), boxes


def write_set(folder: Path, count: int, file: Path, seed: int) -> None:
    """Photos in a folder, and a COCO file of their boxes with scores and polygons; the last photo has none."""
    folder.mkdir(parents=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    images, annotations = [], []
    for index in range(count):
        photo, boxes = photo_with_boxes(generator)
        photo.save(folder / f'{index:02}.png')
        images.append({'id': index, 'file_name': f'{index:02}.png', 'width': 64, 'height': 64})
        for x, y, width, height in boxes if index < count - 1 else []:
            diamond = [x, y + height / 2, x + width / 2, y, x + width, y + height / 2, x + width / 2, y + height]
            annotation = {'id': len(annotations) + 1, 'image_id': index, 'bbox': [x, y, width, height]}
            annotation |= {'score': 0.5 + 0.01 * len(annotations) % 0.5, 'segmentation': [diamond], 'iscrowd': 0}
            annotations.append(annotation | {'category_id': 1, 'area': width * height})
    categories = [{'id': 1, 'name': 'ball'}]
    file.write_text(json.dumps({'images': images, 'annotations': annotations, 'categories': categories}))


def shrunk(cfg: Config) -> Config:
    """The recipe at a sixteenth of the width, small squares, two photos at once, in this process."""
    for network in ('image_net', 'instance_net', 'fusion_net'):
        if network in cfg.model:
            cfg.model[network].get('backbone', cfg.model[network]).width = TINY
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[name].update(batch_size=2, num_workers=0, persistent_workers=False)
        cfg[name].dataset.pipeline = [
            {**step, 'size': SIZE} if 'size' in step else step for step in cfg[name].dataset.pipeline
        ]
    cfg.default_hooks.logger.interval = 1
    return cfg


def run(cfg: Config, work_dir: Path, **settings) -> Runner:
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = work_dir.name
    cfg.merge_from_dict(settings)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def losses_of(work_dir: Path) -> np.ndarray:
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return np.array([record['loss'] for record in records if 'loss' in record])


class TestStagesInSequence:
    """Must work with what the stage before wrote, and lower its own loss."""

    ITERS = 16

    @pytest.fixture(scope='class')
    def work_dirs(self, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp('stages')
        write_set(folder / 'photos', 12, folder / 'instances.json', seed=0)
        previous = None
        with pytest.MonkeyPatch.context() as patch:
            isolate_mmengine(patch)
            for stage in ('full', 'instance', 'fusion'):
                cfg = shrunk(Config.fromfile(PHOTOS / f'insta_{stage}_photos_w025_64x64.py'))
                for loader in (cfg.train_dataloader, cfg.val_dataloader):
                    loader.dataset.update(data_root=str(folder / 'photos'), ann_file='')
                    if stage != 'full':
                        loader.dataset.instances = str(folder / 'instances.json')
                work_dir = folder / f'{folder.name}_{stage}'
                cfg.param_scheduler = []
                cfg.custom_hooks = []  # sixteen steps are no average
                run(
                    cfg,
                    work_dir,
                    load_from=previous,
                    **{
                        'train_cfg.max_iters': self.ITERS,
                        'train_cfg.val_interval': self.ITERS,
                        'optim_wrapper.optimizer.lr': 3e-3,
                        'default_hooks.checkpoint.interval': self.ITERS,
                    },
                )
                previous = str(work_dir / f'iter_{self.ITERS}.pth')
        return folder

    def checkpoint(self, work_dirs: Path, stage: str) -> Path:
        return work_dirs / f'{work_dirs.name}_{stage}' / f'iter_{self.ITERS}.pth'

    @pytest.mark.parametrize('stage', ['full', 'instance', 'fusion'])
    def test_the_loss_falls(self, work_dirs, stage):
        losses = losses_of(work_dirs / f'{work_dirs.name}_{stage}')

        assert len(losses) == self.ITERS
        assert losses[-4:].mean() < 0.97 * losses[:4].mean()

    def test_each_stage_keeps_what_it_does_not_train(self, work_dirs):
        first, second, third = (
            load_checkpoint(self.checkpoint(work_dirs, stage)) for stage in ('full', 'instance', 'fusion')
        )

        assert second.networks == ('image_net', 'instance_net')
        assert third.networks == ('image_net', 'instance_net', 'fusion_net')
        for name, value in first.state_dict.items():
            assert torch.equal(second.state_dict[name], value)
        for name, value in second.state_dict.items():
            assert torch.equal(third.state_dict[name], value)
        name = 'stages.conv4.0.weight'
        assert not torch.equal(second.state_dict[f'instance_net.{name}'], first.state_dict[f'image_net.{name}'])
        assert torch.equal(third.state_dict[f'fusion_net.{name}'], first.state_dict[f'image_net.{name}'])

    @pytest.mark.parametrize(
        ('stage', 'network'), [('full', 'image_net'), ('instance', 'image_net'), ('fusion', 'fusion_net')]
    )
    def test_the_stage_1_config_colours_with_any_stages_checkpoint(self, work_dirs, stage, network):
        boxes = {'type': 'CachedDetector', 'path': str(work_dirs / 'instances.json')}
        inferencer = ColorizationInferencer(
            PHOTOS / 'insta_full_photos_w025_64x64.py',
            self.checkpoint(work_dirs, stage),
            device='cpu',
            detector=boxes,
            show_progress=False,
        )

        out = work_dirs / f'out_{stage}'
        (record,) = inferencer(str(work_dirs / 'photos' / '03.png'), out_dir=str(out))['predictions']

        assert record['network'] == network
        assert Path(record['output']).is_file()


class TestLightStages:
    """Stages 2 and 3 of the light backbone: what the stage before wrote is taken, and the encoder stays in all."""

    def test_the_encoder_stays_and_a_file_holds_it_once(self, tmp_path):
        write_set(tmp_path / 'photos', 6, tmp_path / 'instances.json', seed=0)
        first = ImageColorizer({'type': 'LiteBackbone', 'width': TINY})
        save_checkpoint(first.state_dict(), tmp_path / 'first.pth')
        previous = tmp_path / 'first.pth'
        for stage in ('instance', 'fusion'):
            cfg = shrunk(Config.fromfile(PHOTOS / f'insta_{stage}_lite_128x128.py'))
            for loader in (cfg.train_dataloader, cfg.val_dataloader):
                boxes = str(tmp_path / 'instances.json')
                loader.dataset.update(data_root=str(tmp_path / 'photos'), ann_file='', instances=boxes)
            cfg.param_scheduler = []
            cfg.custom_hooks = []
            settings = {'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2, 'default_hooks.checkpoint.interval': 2}
            run(cfg, tmp_path / f'{tmp_path.name}_{stage}', load_from=str(previous), **settings)
            previous = tmp_path / f'{tmp_path.name}_{stage}' / 'iter_2.pth'

        third = load_checkpoint(previous)
        (file,) = save_checkpoint(third.state_dict, tmp_path / 'third.safetensors', half=True)

        assert third.networks == ('image_net', 'instance_net', 'fusion_net')
        assert third.sizes['fused'] == 'enc16 enc32 up16 up8 up4'
        assert losses_of(previous.parent).shape == (2,)
        entries = load_file(file)
        for name, value in first.image_net.state_dict().items():
            assert torch.equal(third.state_dict[f'image_net.{name}'], value)
            for network in ('instance_net', 'fusion_net'):
                same = torch.equal(third.state_dict[f'{network}.{name}'], value)
                assert same or not name.startswith('encoder.')
                assert f'{network}.{name}' not in entries or not name.startswith('encoder.')
        for name in ('instance_net.ups.up4.0.weight', 'fusion_net.ups.up4.0.weight'):
            assert not torch.equal(third.state_dict[name], first.image_net.state_dict()['ups.up4.0.weight'])


class TestAblations:
    """The paper's Table 3: each row's recipe trains and is measured."""

    @pytest.fixture(scope='class')
    def folder(self, tmp_path_factory) -> Path:
        """A tiny COCO, as docs/datasets.md lays it out, and a checkpoint of stage 2."""
        folder = tmp_path_factory.mktemp('ablations')
        coco = folder / 'data' / 'coco'
        for name, count in (('train2017', 6), ('val2017', 3)):
            write_set(coco / name, count, coco / 'annotations' / f'instances_{name}.json', seed=count)
            (coco / f'detections_{name}.json').write_bytes(
                (coco / 'annotations' / f'instances_{name}.json').read_bytes()
            )
        trunk = ConfigDict(type='ColorizationBackbone', width=TINY)
        from insta_colorization.models import InstanceColorizer

        with torch.random.fork_rng():
            torch.manual_seed(0)
            save_checkpoint(InstanceColorizer(trunk, trunk).state_dict(), folder / 'stage_2.pth')
        return folder

    def test_there_are_nine(self):
        assert len(ABLATIONS) == 9

    @pytest.mark.parametrize('path', ABLATIONS, ids=lambda path: path.stem)
    def test_trains_and_evaluates(self, path, folder, monkeypatch):
        monkeypatch.chdir(folder)
        cfg = shrunk(Config.fromfile(path))
        cfg.test_evaluator = [{'type': 'PSNR'}]
        work_dir = folder / path.stem

        runner = run(cfg, work_dir, load_from='stage_2.pth', **{'train_cfg.max_epochs': 1})
        metrics = runner.test()

        losses = losses_of(work_dir)
        assert len(losses) == 3  # five of six photos have boxes, two at once
        assert np.isfinite(losses).all()
        assert {'image/PSNR', 'instance/PSNR'} <= metrics.keys()

    def test_the_rows_differ(self, folder):
        """What each row trained: another part of the network, other boxes, other weights."""
        weights = {
            path.stem: load_checkpoint(folder / path.stem / 'epoch_1.pth').state_dict
            for path in ABLATIONS
            if (folder / path.stem).is_dir()
        }
        start = load_checkpoint(folder / 'stage_2.pth').state_dict['image_net.ab_head.0.weight']

        assert len(weights) == 9
        heads = {name: state['fusion_net.ab_head.0.weight'] for name, state in weights.items()}
        assert not any(torch.equal(head, start) for head in heads.values())
        names = list(heads)
        same = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if torch.equal(heads[a], heads[b])]
        # With two boxes a photo, eight of them and all of them are the same, by score or at random.
        few = {'fusion_both', 'boxes_random8', 'boxes_threshold', 'boxes_gt'}
        assert all({a, b} <= few for a, b in same)
