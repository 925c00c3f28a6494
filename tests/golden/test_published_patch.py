"""PatchColorization against what was recorded from the published code with the same weights."""

from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from recipe import published

from insta_colorization.apis import Prediction, Predictor
from insta_colorization.structures import Request

GOLDEN = Path(__file__).parent
CONFIG = 'patch_eccv16_256x256'

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / 'patch_coffee.npz'))


@pytest.fixture(scope='module')
def predictor(golden, tmp_path_factory) -> Predictor:
    """The published network at full width and the recorded boxes and masks; colours are times the recorded gain."""
    folder = tmp_path_factory.mktemp('patch')
    weights = published('eccv16', int(golden['seed']))
    weights['model_out.weight'] *= float(golden['ab_gain'])
    torch.save(weights, folder / 'colorization_release_v2-9b330a0b.pth')
    masks = np.unpackbits(golden['masks'], axis=-1)[..., : golden['mask_shape'][2]]
    np.savez(folder / 'boxes.npz', bbox=golden['boxes'], masks=masks)
    return Predictor(CONFIG, folder / 'colorization_release_v2-9b330a0b.pth', 'cpu', folder / 'boxes.npz')


@pytest.fixture(scope='module')
def photo() -> Path:
    return Path(skimage.__file__).parent / 'data' / 'coffee.png'


@pytest.fixture(scope='module')
def prediction(predictor, photo) -> Prediction:
    return predictor.predict(photo, native_size=True)


def assert_picture(picture: np.ndarray, golden: np.ndarray) -> None:
    difference = np.abs(picture[::4, ::4].astype(float) - golden)
    assert difference.max() <= 1
    assert difference.mean() < 0.001


def test_lightness(predictor, photo, golden):
    packed = predictor.pack(predictor.read(photo), Request(native=True))
    batch = predictor.model.data_preprocessor(
        {
            'inputs': {name: [value] for name, value in packed['inputs'].items()},
            'data_samples': [packed['data_samples']],
        }
    )

    ours = batch['lightness'][0, 0, ::4, ::4] * 100 + 50

    torch.testing.assert_close(ours, torch.from_numpy(golden['l256_stride4']), atol=1e-4, rtol=0)


def test_colours_of_the_network(prediction, golden):
    gain = float(golden['ab_gain'])
    ours = prediction.sample.pred_ab[:, ::4, ::4] * 110 / gain

    torch.testing.assert_close(ours, torch.from_numpy(golden['ab256_stride4']) / gain, atol=1e-5, rtol=0)


def test_boxes_that_are_coloured(prediction, golden):
    np.testing.assert_array_equal(prediction.instances.boxes, golden['boxes'][golden['kept']])
    assert prediction.record['masks'] == ['mask', 'mask']


def test_picture(prediction, golden):
    assert_picture(prediction.pixels, golden['rgb_desaturated_stride4'])


def test_picture_before_the_saturation_curve(predictor, prediction, golden, monkeypatch):
    monkeypatch.setattr(predictor.model, 'curve_strength', 0)

    assert_picture(
        predictor.model.native_picture(prediction.source.rgb8, prediction.sample), golden['rgb_plain_stride4']
    )
