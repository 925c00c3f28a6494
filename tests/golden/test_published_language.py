"""L-CoIns against what was recorded from the published code with the same weights, at a small size."""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from scripts import load_script

from insta_colorization.checkpoints import load_checkpoint
from insta_colorization.colorspace import rgb_to_lab, to_network
from insta_colorization.imaging import read_photo
from insta_colorization.imaging.resize import resize_photo, to_tensor
from insta_colorization.models.language import LanguageColors, LanguageNetwork

GOLDEN = Path(__file__).parent

pytestmark = pytest.mark.slow

recipe = load_script('tests/golden/recipe.py')


@pytest.fixture(scope='module')
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / 'lcoins_small_coffee.npz'))


@pytest.fixture(scope='module')
def network(golden, tmp_path_factory) -> LanguageNetwork:
    path = tmp_path_factory.mktemp('lcoins') / 'checkpoint.pth'
    keys = json.loads((GOLDEN / 'lcoins_small_keys.json').read_text())
    weights = {name: torch.from_numpy(value) for name, value in recipe.state_dict(keys, int(golden['seed'])).items()}
    torch.save({'model': weights}, path)
    checkpoint = load_checkpoint(path)
    assert (checkpoint.family.name, checkpoint.layout) == ('language', 'lcoins')
    network = LanguageNetwork(96, 2, 3, 128, 2, 4)
    network.load_state_dict({name.removeprefix('language_net.'): v for name, v in checkpoint.state_dict.items()})
    return network.eval()


@pytest.fixture(scope='module')
def lightness() -> torch.Tensor:
    """Of the photo and its mirror image, in network units."""
    photo = read_photo(Path(skimage.__file__).parent / 'data' / 'coffee.png')
    small = to_tensor(resize_photo(photo.rgb8, 224)).float() / 255
    own = to_network(rgb_to_lab(small))[0]
    return torch.stack([own, own.flip(-1)])


@pytest.fixture(scope='module')
def words(golden) -> torch.Tensor:
    generator = np.random.Generator(np.random.PCG64(golden['text_embedding_seed']))
    return torch.from_numpy(generator.normal(0, 1, (2, 80, 768)).astype(np.float32))


@pytest.fixture(scope='module')
def found(network, lightness, words) -> LanguageColors:
    with torch.inference_mode():
        return network(lightness, words, classify=True, group=True)


def assert_close(ours: torch.Tensor, golden: np.ndarray, tolerance: float) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(golden), atol=tolerance, rtol=0)


def test_lightness(lightness, golden):
    assert_close(2 * lightness[:, 0, ::4, ::4], golden['lightness_stride4'], 1e-4)


def test_colours(found, golden):
    assert_close(found.ab[..., ::4, ::4], golden['ab_stride4'], 1e-4)


def test_classes(found, golden):
    ours = found.class_logits.flatten(2).transpose(1, 2)[:, ::784]

    assert_close(ours, golden['class_logits_every_49th_pixel'], 1e-4)


def test_groups(found, golden):
    assert_close(found.groups.soft, golden['group_soft'], 1e-4)
    np.testing.assert_array_equal(found.groups.hard, golden['group_hard'])
    assert_close(found.groups.centres, golden['group_centres'], 1e-3)


def test_a_batch_of_one_is_its_row_of_a_larger_one(network, lightness, words, found):
    with torch.inference_mode():
        alone = network(lightness[:1], words[:1])

    torch.testing.assert_close(alone.ab, found.ab[:1], atol=1e-5, rtol=0)
