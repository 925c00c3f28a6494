import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from insta_colorization.metrics import PSNR, Colorfulness, colorfulness
from insta_colorization.rendering import clipped_rgb


@pytest.fixture
def photos() -> list[torch.Tensor]:
    """Three photos of soft colours (3, 24, 32) uint8; grey levels near the ends would clip."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(60, 200, (3, 3, 3, 4), dtype=np.uint8)
    return [torch.from_numpy(np.kron(photo, np.ones((1, 8, 8), np.uint8))) for photo in coarse]


def true_ab(photo: torch.Tensor) -> torch.Tensor:
    lab = rgb2lab(photo.movedim(0, -1).numpy())
    return torch.from_numpy(lab[..., 1:] / 110).movedim(-1, 0).float()


def grey(photo: torch.Tensor) -> torch.Tensor:
    return torch.zeros(2, *photo.shape[1:])


class TestPredictedRgb:
    def test_the_true_colours_give_the_photo_back(self, photos):
        for photo in photos:
            assert (clipped_rgb(photo, true_ab(photo)).int() - photo.int()).abs().max() <= 1

    def test_no_colour_gives_a_grey_photo_of_the_same_lightness(self, photos):
        rgb = clipped_rgb(photos[0], grey(photos[0])).movedim(0, -1).numpy()

        assert np.ptp(rgb.astype(int), axis=-1).max() <= 1
        lightness = rgb2lab(photos[0].movedim(0, -1).numpy())[..., 0]
        np.testing.assert_allclose(rgb2lab(rgb)[..., 0], lightness, atol=0.4)

    def test_smaller_ab_is_brought_to_the_photos_size(self, photos):
        even = torch.full((2, 1, 1), 0.1)

        full = clipped_rgb(photos[0], even.expand(2, 24, 32))
        assert torch.equal(clipped_rgb(photos[0], even), full)


def test_psnr_is_scikit_images(photos):
    truth = photos[0]
    prediction = clipped_rgb(truth, grey(truth))

    value = PSNR().measure(truth, prediction)['dB']

    assert value == pytest.approx(peak_signal_noise_ratio(truth.numpy(), prediction.numpy()))


def test_psnr_of_equal_photos(photos):
    assert PSNR().measure(photos[0], photos[0]) == {'dB': 100.0}


def test_colourfulness_of_known_photos():
    # Hasler and Suesstrunk 2003, M3 = spread + 0.3 offset of rg = R - G and yb = (R + G) / 2 - B.
    flat_grey = torch.full((3, 4, 4), 90, dtype=torch.uint8)
    half_red_half_green = torch.zeros(3, 4, 4, dtype=torch.uint8)
    half_red_half_green[0, :, :2] = half_red_half_green[1, :, 2:] = 255
    all_blue = torch.zeros(3, 4, 4, dtype=torch.uint8)
    all_blue[2] = 255

    assert colorfulness(flat_grey) == 0
    assert colorfulness(half_red_half_green) == pytest.approx(255 + 0.3 * 127.5)
    assert colorfulness(all_blue) == pytest.approx(0.3 * 255)


def test_through_mmengines_evaluator(photos):
    evaluator = Evaluator([PSNR(), Colorfulness()])
    predictions = [true_ab(photos[0]), grey(photos[1]), grey(photos[2])]
    samples = [{'gt_rgb': truth, 'pred_ab': ab} for truth, ab in zip(photos, predictions, strict=True)]

    evaluator.process(data_samples=samples[:2], data_batch={})
    evaluator.process(data_samples=samples[2:], data_batch={})
    values = evaluator.evaluate(size=3)

    single = [PSNR().measure(p, clipped_rgb(p, ab))['dB'] for p, ab in zip(photos, predictions, strict=True)]
    assert values['PSNR/dB'] == pytest.approx(np.mean(single))
    assert values['PSNR/dB_median'] == pytest.approx(np.median(single))
    assert values['CF/truth'] == pytest.approx(np.mean([colorfulness(photo) for photo in photos]))
    assert values['CF/prediction_median'] < 1 < values['CF/truth_median']
