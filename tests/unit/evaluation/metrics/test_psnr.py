import pytest
from skimage.metrics import peak_signal_noise_ratio

from insta_colorization.evaluation.metrics import PSNR


def test_it_is_scikit_images(photos, noisy):
    for truth, prediction in zip(photos, noisy, strict=True):
        expected = peak_signal_noise_ratio(truth.numpy(), prediction.numpy())
        assert PSNR().measure(truth, prediction)['PSNR'] == pytest.approx(expected)


def test_equal_photos(photos):
    assert PSNR().measure(photos[0], photos[0]) == {'PSNR': 100.0}
