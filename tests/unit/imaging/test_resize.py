import numpy as np
import pytest
from PIL import Image

from insta_colorization.imaging.resize import crop_instances, resize_photo
from insta_colorization.structures import Instances


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_a_photo_is_squashed_as_pillow_does(image):
    expected = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR))

    np.testing.assert_array_equal(resize_photo(image, 16), expected)


def test_reducing_averages_instead_of_skipping(image):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200

    assert np.ptp(resize_photo(stripes, 8)[:, 1:-1].astype(int)) <= 1


def test_a_photo_of_that_size_is_left_alone(image):
    square = image[:40, :40]

    assert resize_photo(square, 40) is square


def test_views_that_run_backwards(image):
    np.testing.assert_array_equal(resize_photo(image[:, ::-1], 16), resize_photo(image[:, ::-1].copy(), 16))


def test_crops_come_from_the_photo_at_its_own_size(image):
    instances = Instances([[3.9, 5.2, 20.1, 37.9], [0, 0, 60, 40]], (40, 60))

    crops = crop_instances(image, instances, 16)

    # Boxes are floored to whole pixels first, as the published code does.
    np.testing.assert_array_equal(crops[0], resize_photo(image[5:37, 3:20], 16))
    np.testing.assert_array_equal(crops[1], resize_photo(image, 16))
    assert crops.dtype == np.uint8


def test_a_box_under_a_pixel(image):
    crops = crop_instances(image, Instances([[10.2, 10.2, 10.4, 10.4]], (40, 60)), 8)

    assert (crops == image[10, 10]).all()


def test_no_instances(image):
    crops = crop_instances(image, Instances.empty((40, 60)), 8)

    assert crops.shape == (0, 8, 8, 3)
    assert crops.dtype == np.uint8


def test_instances_of_a_photo_of_another_size(image):
    with pytest.raises(ValueError, match=r'size \(60, 40\), but the photo has \(40, 60\)'):
        crop_instances(image, Instances.empty((60, 40)), 8)
