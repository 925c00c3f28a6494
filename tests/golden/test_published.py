"""Our networks against outputs recorded from the published implementation (InstColorization)."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import skimage
import torch
from recipe import published

from insta_colorization.apis.inferencer import ColorizationInferencer
from insta_colorization.checkpoints import save_checkpoint
from insta_colorization.checkpoints.families import identify
from insta_colorization.colorspace import from_network, lab_to_rgb
from insta_colorization.detectors.selection import select
from insta_colorization.imaging.photo import read_photo
from insta_colorization.imaging.resize import crop_instances, resize_photo
from insta_colorization.models import ColorizationPreprocessor, InstColorizer
from insta_colorization.models.backbones import Colors
from insta_colorization.structures import ColorizationSample, Instances

GOLDEN = Path(__file__).parent
PHOTOS = ('astronaut', 'coffee', 'chelsea')
SEEDS = {'instance_net': 1, 'fusion_net': 2, 'image_net': 3}
ATOL = 1e-4
ROWS = 13


@pytest.fixture(scope='module')
def model() -> InstColorizer:
    """The three published networks at full width, filled by the rule the outputs were recorded with."""
    model = InstColorizer().eval()
    for network, seed in SEEDS.items():
        entries = published('insta_GF' if network == 'fusion_net' else 'insta_G', seed)
        ours = identify(entries, network, network=network).state_dict
        getattr(model, network).load_state_dict({name.removeprefix(f'{network}.'): v for name, v in ours.items()})
    return model


class Recorded:
    """A photo, its recorded outputs, and what our code makes of the photo up to the networks."""

    def __init__(self, name: str) -> None:
        self.name = name
        photo = read_photo(Path(skimage.__file__).parent / 'data' / f'{name}.png').rgb8
        self.golden = np.load(GOLDEN / f'insta_{name}.npz')
        found = Instances(self.golden['image_boxes'], photo.shape[:2], self.golden['image_scores'])
        self.instances = select(found, top_k=8)
        data = {
            'inputs': {
                'image': [to_tensor(resize_photo(photo, 256))],
                'crops': [to_tensor(crop_instances(photo, self.instances, 256))],
            },
            'data_samples': [ColorizationSample(instances=self.instances)],
        }
        self.batch = ColorizationPreprocessor()(data, training=False)


def to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).movedim(-1, -3)


@pytest.fixture(scope='module', params=PHOTOS)
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(request.param)


def assert_close(ours: torch.Tensor, golden: np.ndarray, atol: float = ATOL) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(golden), atol=atol, rtol=0)


def test_selected_boxes_are_those_of_the_published_code(recorded):
    np.testing.assert_array_equal(
        recorded.instances.in_pixels().numpy(), recorded.golden['selected_boxes'].reshape(-1, 4)
    )


@pytest.mark.parametrize('size', [256, 128, 64, 32])
def test_grid_boxes_are_those_of_the_published_code(recorded, size):
    ours = recorded.instances.on_grid((size, size)).numpy()
    if not len(recorded.golden['image_boxes']):
        assert ours.shape == (0, 4)
        return
    np.testing.assert_array_equal(ours, recorded.golden[f'grid_boxes_{size}'].reshape(-1, 4))


def test_lab_is_that_of_the_published_code(recorded):
    ours = torch.cat([recorded.batch['lightness'], recorded.batch['ab']], dim=1)[0, :, ::4, ::4]
    assert_close(ours, recorded.golden['lab256_stride4'])


@pytest.mark.slow
@torch.inference_mode()
def test_full_image_network(recorded, model):
    colors = model.image_net(recorded.batch['lightness'], classify=True)
    assert_close(colors.ab[0, :, ::4, ::4], recorded.golden['full_ab_stride4'])
    assert_close(colors.class_logits[0, :, ::8, ::8], recorded.golden['full_class_logits_8x8'])


class Run(NamedTuple):
    """What the whole system makes of a photo, and on the way the instance network's rows and first chunk of colours."""

    ab: torch.Tensor
    rows: dict[str, list[torch.Tensor]]
    instance_ab: list[torch.Tensor]


@pytest.fixture(scope='module')
def run(recorded, model) -> Run:
    rows, found, instance_ab = model.instance_net.rows, defaultdict(list), []

    def watched(*args: Any, **kwargs: Any) -> Iterator[tuple[str, torch.Tensor]]:
        for name, feature in rows(*args, **kwargs):
            found[name].append(torch.stack([feature.mean(dim=(2, 3)), feature.std(dim=(2, 3))]))
            if len(found) == ROWS and not instance_ab:
                instance_ab.append(model.instance_net.ab_head(feature))
            yield name, feature

    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.instance_net, 'rows', watched)
        return Run(model(**recorded.batch, mode='tensor'), found, instance_ab)


@pytest.mark.slow
def test_instance_network(recorded, run):
    if not len(recorded.instances):
        pytest.skip('this photo has no boxes; the instance network does not run')
    assert_close(run.instance_ab[0][..., ::4, ::4], recorded.golden['instance_ab_stride4'])
    assert len(run.rows) == ROWS
    for name, chunks in run.rows.items():
        mean, std = torch.cat(chunks, dim=1)
        assert_close(mean, recorded.golden[f'instance_{name}_mean'])
        assert_close(std, recorded.golden[f'instance_{name}_std'])


@pytest.mark.slow
def test_whole_system(recorded, run):
    assert_close(run.ab[0, :, ::4, ::4], recorded.golden['ab_stride4'])
    rgb = (lab_to_rgb(from_network(recorded.batch['lightness'], run.ab)).clamp(0, 1) * 255).round()[0]
    difference = (rgb.permute(1, 2, 0)[::4, ::4].numpy() - recorded.golden['rgb256_stride4'].astype(float)).__abs__()
    assert difference.max() <= 1
    assert difference.mean() < 0.1


@pytest.mark.slow
def test_mmagic_names_give_identical_tensors():
    trunk = published('insta_G', 1)
    fusion = published('insta_GF', 2)
    modern = {}
    for entries, prefix in ((trunk, 'image_model'), (trunk, 'instance_model'), (fusion, 'fusion_model')):
        for name, value in entries.items():
            leaf = name
            for block in (
                'model8up',
                'model9up',
                'model10up',
                'model3short8',
                'model2short9',
                'model1short10',
                'model_class',
            ):
                leaf = leaf.replace(f'{block}.0.', f'{block}.')
            modern[f'{prefix}.{leaf}'] = value
    assert set(modern) == set(json.loads((GOLDEN / 'mmagic_keys.json').read_text()))
    ours = identify(modern, 'mmagic').state_dict
    for network, entries in (('image_net', trunk), ('instance_net', trunk), ('fusion_net', fusion)):
        expected = identify(entries, 'insta', network=network).state_dict
        assert set(expected) == {name for name in ours if name.startswith(network)}
        for name, value in expected.items():
            assert torch.equal(ours[name], value), name


@pytest.fixture(scope='module')
def inferencer(model, tmp_path_factory) -> ColorizationInferencer:
    """With the same networks, from published files, and with boxes of all photos."""
    folder, boxes = tmp_path_factory.mktemp('weights'), tmp_path_factory.mktemp('boxes')
    save_checkpoint(model.state_dict(), folder, 'instacolorization')
    for name in PHOTOS:
        golden = np.load(GOLDEN / f'insta_{name}.npz')
        np.savez(boxes / f'{name}.npz', bbox=golden['image_boxes'].reshape(-1, 4), scores=golden['image_scores'])
    return ColorizationInferencer(weights=folder, device='cpu', detector=boxes)


@pytest.mark.slow
def test_inferencer_has_the_published_networks(inferencer, model):
    found, expected = inferencer.predictor.model.state_dict(), model.state_dict()
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


@pytest.mark.slow
def test_inferencer_at_native_size_gives_the_published_picture(recorded, run, inferencer, monkeypatch):
    """Its networks get what they got in `run`, and need not run again."""

    def colors(batch: dict, classify: bool) -> Colors:
        assert not classify
        for name in ('lightness', 'crop_lightness'):
            torch.testing.assert_close(batch[name], recorded.batch[name], atol=1e-6, rtol=0)
        assert torch.equal(batch['instances'].boxes, recorded.instances.boxes)
        return Colors(run.ab)

    monkeypatch.setattr(inferencer.predictor.model, 'colors', colors)
    photo = Path(skimage.__file__).parent / 'data' / f'{recorded.name}.png'
    (picture,) = inferencer(photo, native_size=True)['visualization']

    difference = np.abs(picture[::4, ::4].astype(float) - recorded.golden['rgb256_stride4'])
    assert difference.max() <= 1
    assert difference.mean() < 0.1
