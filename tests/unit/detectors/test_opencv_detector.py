import cv2
import numpy as np
import pytest

from insta_colorization.detectors import OpenCVDetector
from insta_colorization.detectors.selection import select


@pytest.fixture(scope='module')
def detector():
    return OpenCVDetector()


@pytest.fixture(scope='module')
def astronaut():
    return pytest.importorskip('skimage.data', reason='the photo comes with scikit-image').astronaut()


def face(instances):
    """The one box with its centre on the astronaut's nose, which is at about (222, 115) of 512x512."""
    boxes = instances.boxes
    return boxes[((boxes[:, :2] < 205) & (boxes[:, 2:] > 130)).all(dim=1) & (boxes[:, 2] > 230)]


@pytest.mark.slow
def test_finds_the_astronauts_head_and_shoulders(detector, astronaut):
    found = select(detector.detect([astronaut])[0], detector.score_thr)

    (box,) = face(found).tolist()
    # Hair from (150, 15) to (297, 160); the collar of the suit reaches down to 260.
    assert box[0] < 150
    assert box[1] < 15
    assert box[2] > 297
    assert 200 < box[3] < 290
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    assert {found.classes[label] for label in found.labels.tolist()} == {'person'}


@pytest.mark.slow
def test_boxes_are_in_pixels_of_the_photo(detector, astronaut):
    large = cv2.resize(astronaut, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)

    once, twice = (select(found, top_k=1).boxes for found in detector.detect([astronaut, large]))

    assert (once * 2 - twice).abs().max() < 30


@pytest.mark.parametrize('size', [(1, 1), (40, 12000), (12000, 40), (23, 200), (130, 66)], ids=str)
def test_extreme_photos(detector, size):
    (found,) = detector.detect([np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)])

    assert found.image_size.tolist() == [list(size)]


def test_a_flat_photo_has_no_instances(detector):
    assert len(detector.detect([np.full((300, 300, 3), 128, np.uint8)])[0]) == 0


def test_no_photos(detector):
    assert detector.detect([]) == []


def test_what_is_searched_does_not_grow_with_the_photo(monkeypatch):
    searched = []
    nothing = np.empty((0, 4)), np.empty(0)
    monkeypatch.setattr(OpenCVDetector, '_pedestrians', lambda self, image: searched.append(image.shape) or nothing)
    monkeypatch.setattr(OpenCVDetector, '_with_cascade', lambda self, _, image: searched.append(image.shape) or nothing)

    OpenCVDetector().detect([np.zeros((1000, 2000, 3), np.uint8)])

    assert searched == [(256, 512)] * 4


def test_a_build_without_cascades(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2.data, 'haarcascades', str(tmp_path))

    with pytest.raises(ImportError, match=r'carries no haarcascade_.*pip install opencv-python'):
        OpenCVDetector()
