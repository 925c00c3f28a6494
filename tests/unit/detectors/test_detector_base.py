import cv2
import numpy as np
import pytest

from insta_colorization.detectors import InstanceDetector, NoDetector, lightness_copies


def test_lightness_copies_are_those_of_the_published_code():
    # Its detector script reads BGR and stacks the first channel of COLOR_BGR2LAB three times.
    bgr = np.random.default_rng(0).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    lightness = cv2.split(cv2.cvtColor(bgr, cv2.COLOR_BGR2LAB))[0]

    copies = lightness_copies(bgr[..., ::-1])

    assert copies.dtype == np.uint8
    assert copies.flags.c_contiguous
    np.testing.assert_array_equal(copies, np.stack([lightness] * 3, axis=2))


def test_lightness_copies_span_black_to_white():
    assert lightness_copies(np.full((1, 1, 3), 255, np.uint8)).tolist() == [[[255, 255, 255]]]
    assert lightness_copies(np.zeros((1, 1, 3), np.uint8)).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize(
    ('image', 'error', 'message'),
    [
        pytest.param(np.zeros((4, 4, 3)), TypeError, 'uint8 arrays, but got float64', id='float'),
        pytest.param('photo.jpg', TypeError, 'uint8 arrays, but got str', id='path'),
        pytest.param(np.zeros((4, 4), np.uint8), ValueError, r'\(H, W, 3\), but got shape \(4, 4\)', id='grey'),
        pytest.param(np.zeros((4, 4, 4), np.uint8), ValueError, r'got shape \(4, 4, 4\)', id='alpha'),
        pytest.param(np.zeros((0, 4, 3), np.uint8), ValueError, r'got shape \(0, 4, 3\)', id='no-pixels'),
    ],
)
@pytest.mark.parametrize('look', [lightness_copies, lambda image: NoDetector().detect([image])], ids=['copies', 'none'])
def test_refuses(look, image, error, message):
    with pytest.raises(error, match=message):
        look(image)


def test_no_detector_finds_nothing_in_each_photo():
    found = NoDetector().detect([np.zeros((4, 6, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)])

    assert isinstance(NoDetector(), InstanceDetector)
    assert [len(instances) for instances in found] == [0, 0]
    assert [instances.image_size.tolist() for instances in found] == [[[4, 6]], [[1, 1]]]
