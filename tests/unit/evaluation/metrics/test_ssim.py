import pytest
import torch
from skimage.metrics import structural_similarity as scikit_ssim

from insta_colorization.evaluation.metrics import SSIM, structural_similarity


@pytest.mark.parametrize('size', [(48, 64), (16, 17), (7, 7)], ids=str)
def test_it_is_scikit_images(photos, noisy, size):
    for truth, prediction in zip(photos, noisy, strict=True):
        truth, prediction = (rgb[:, : size[0], : size[1]] for rgb in (truth, prediction))
        channels = zip(truth.numpy(), prediction.numpy(), strict=True)
        expected = sum(scikit_ssim(x, y, data_range=255) for x, y in channels) / 3
        assert structural_similarity(truth, prediction) == pytest.approx(expected, abs=1e-9)


def test_it_is_the_same_a_few_rows_at_a_time(photos, noisy, monkeypatch):
    whole = structural_similarity(photos[0], noisy[0])

    monkeypatch.setattr('insta_colorization.evaluation.metrics.ssim._ROWS', 10)

    assert structural_similarity(photos[0], noisy[0]) == pytest.approx(whole, abs=1e-12)


def test_pictures_smaller_than_the_window():
    with pytest.raises(ValueError, match='SSIM needs pictures of at least 7 x 7 pixels, but got 9 x 6'):
        structural_similarity(*torch.zeros(2, 3, 6, 9, dtype=torch.uint8))


def test_equal_photos(photos):
    assert SSIM().measure(photos[0], photos[0]) == {'SSIM': pytest.approx(1)}


def test_flat_pictures_have_no_structure_to_lose():
    # Only Wang et al.'s luminance term is left: (2 x y + C1) / (x^2 + y^2 + C1) with C1 = 2.55^2.
    dark, light = (torch.full((3, 8, 8), value, dtype=torch.uint8) for value in (50, 100))
    assert structural_similarity(dark, light) == pytest.approx((10000 + 6.5025) / (12500 + 6.5025))
