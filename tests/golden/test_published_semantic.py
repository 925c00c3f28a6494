"""Semantic-driven colorization against what was recorded from the published code with the same weights."""

from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from recipe import published

from insta_colorization.apis import Prediction, Predictor
from insta_colorization.colorspace import to_signed
from insta_colorization.structures import Request, resize_map

GOLDEN = Path(__file__).parent
CONFIG = 'semantic_color_cocopanoptic_352x352'
NETWORKS = {'seg': 'segment_net', 'color': 'color_net'}

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / 'semantic_coffee.npz'))


@pytest.fixture(scope='module')
def predictor(golden, tmp_path_factory) -> Predictor:
    """The published networks at full width, from a folder of two files as they are published, in the old pickle."""
    folder = tmp_path_factory.mktemp('semantic')
    for name, seed in zip(NETWORKS, golden['seeds'].tolist(), strict=True):
        torch.save(
            {'G': published(f'semantic_{name}', seed)}, folder / f'{name}.pth.tar', _use_new_zipfile_serialization=False
        )
    return Predictor(CONFIG, folder, 'cpu')


@pytest.fixture(scope='module')
def photo() -> Path:
    return Path(skimage.__file__).parent / 'data' / 'coffee.png'


@pytest.fixture(scope='module')
def prediction(predictor, photo, golden) -> Prediction:
    """With the recorded map: another rounding may flip a near-tie of the segmenter's, which moves colours around it."""
    source = predictor.read(photo)
    return predictor.predict(source, map=resize_map(golden['seg_map'], source.size), native_size=True)


@pytest.fixture(scope='module')
def gray(predictor, photo) -> torch.Tensor:
    packed = predictor.pack(predictor.read(photo), Request(native=True))
    return packed['inputs']['gray'][None, None].float() / 255


def assert_near(ours: torch.Tensor, recorded: np.ndarray) -> None:
    np.testing.assert_allclose(ours.numpy(), recorded, rtol=0, atol=1e-4 * np.ptp(recorded))


@torch.inference_mode()
def test_logits_and_map(predictor, gray, golden):
    logits = predictor.model.segment_net(gray)[0]

    assert_near(logits[:, ::8, ::8], golden['seg_logits_stride8'])
    assert (logits.argmax(dim=0).numpy() == golden['seg_map']).mean() > 0.999


def test_colours(prediction, golden):
    np.testing.assert_array_equal(prediction.sample.pred_map, golden['seg_map'])
    assert_near(to_signed(prediction.sample.pred_ab)[:, ::4, ::4], golden['ab_out_stride4'])


@torch.inference_mode()
def test_colours_of_an_edited_map(predictor, gray, golden):
    y0, y1, x0, x1, label = golden['edit'].tolist()
    ids = torch.from_numpy(golden['seg_map'].copy())[None]
    ids[:, y0:y1, x0:x1] = label

    assert_near(predictor.model.color_net(gray, ids)[0, :, ::4, ::4], golden['ab_out_edited_stride4'])


def test_picture(prediction, golden):
    difference = np.abs(prediction.pixels[::4, ::4].astype(int) - golden['rgb_stride4'])

    assert prediction.pixels.shape == (352, 352, 3)
    assert (difference <= 1).mean() > 0.999
    assert difference.mean() < 0.1
