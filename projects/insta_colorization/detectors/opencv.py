"""Detectors that ship inside OpenCV with their weights.

They know people only: upright pedestrians (HOG, Dalal and Triggs 2005), faces and upper bodies (Haar cascades, Viola
and Jones 2001). A face alone says too little about its colours, and detectors of COCO's classes never box one, so it
stands for the head and shoulders around it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from insta_colorization.registry import MODELS
from insta_colorization.structures import COCO_CLASSES, Instances

from .base import lightness_copies

# Time grows with the pixels, while the smallest object worth colouring on its own grows with the photo.
_LONGEST_SIDE = 512
_SMALLEST_FACE = 24
_HOG_WINDOW = (128, 64)
# A frontal and a profile cascade find the same face.
_NMS_IOU = 0.4


class _Confidence(NamedTuple):
    """Maps the detectors' unbounded margins to 0..1: `centre` is 0.5, `width` further is 0.73."""

    centre: float
    width: float

    def __call__(self, margin: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp((self.centre - margin) / self.width))


# Chosen so that a score is roughly the share of right boxes at that margin, as counted on 160 COCO val2017 photos (a
# right box has its centre inside a true person). The pedestrian detector is wrong four times out of five there. The
# full-body cascade and the cat-face cascade were left out: wrong nine times out of ten, and two cats in 160 photos.
_HOG_CONFIDENCE = _Confidence(centre=2.0, width=1.0)
_CASCADE_CONFIDENCE = {
    'frontalface_alt2': _Confidence(centre=55.3, width=0.5),
    'profileface': _Confidence(centre=0.5, width=1.0),
    'upperbody': _Confidence(centre=1.5, width=1.0),
}
# What a face grows by to the left, above, to the right and below, in its own widths and heights.
_AROUND_FACE = np.array([0.6, 0.6, 0.6, 0.9])
_FACES = ('frontalface_alt2', 'profileface')


@MODELS.register_module()
class OpenCVDetector:
    """Pedestrians, upper bodies and, by their faces, heads and shoulders; classifiers inside OpenCV, no download.

    Photos are searched at a longest side of 512 pixels, so that the time per photo is bounded.

    Args:
        score_thr: see `InstanceDetector`.

    Raises:
        ImportError: this build of OpenCV carries no cascades.
    """

    def __init__(self, score_thr: float = 0.4) -> None:
        self.score_thr = score_thr
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector()))
        self._cascades = {name: _load_cascade(name) for name in _CASCADE_CONFIDENCE}

    def detect(self, images: list[np.ndarray], paths: Sequence[str] | None = None) -> list[Instances]:
        """Runs all classifiers on each photo; see `InstanceDetector.detect`."""
        return [self._detect(lightness_copies(image)[..., 0]) for image in images]

    def _detect(self, lightness: np.ndarray) -> Instances:
        height, width = lightness.shape
        scale = min(1.0, _LONGEST_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(lightness, size, interpolation=cv2.INTER_AREA)
        found = [self._pedestrians(small), *(self._with_cascade(name, small) for name in self._cascades)]
        boxes = np.concatenate([boxes for boxes, _ in found])
        scores = np.concatenate([scores for _, scores in found])
        keep = np.asarray(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.0, _NMS_IOU), np.int64).reshape(-1)
        corners = np.concatenate([boxes[keep, :2], boxes[keep, :2] + boxes[keep, 2:]], axis=1)
        photo_pixels = np.array([width / size[0], height / size[1]] * 2)
        people = np.full(len(keep), COCO_CLASSES.index('person'))
        return Instances.clipped(corners * photo_pixels, (height, width), scores[keep], labels=people)

    def _pedestrians(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (R, 4) as x, y, width, height and scores (R,)."""
        if image.shape[0] < _HOG_WINDOW[0] or image.shape[1] < _HOG_WINDOW[1]:
            return _as_arrays((), (), _HOG_CONFIDENCE)
        boxes, margins = self._hog.detectMultiScale(image, winStride=(8, 8), padding=(8, 8), scale=1.05)
        return _as_arrays(boxes, margins, _HOG_CONFIDENCE)

    def _with_cascade(self, name: str, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (R, 4) as x, y, width, height and scores (R,)."""
        if min(image.shape) < _SMALLEST_FACE:
            return _as_arrays((), (), _CASCADE_CONFIDENCE[name])
        boxes, _, margins = self._cascades[name].detectMultiScale3(
            image, scaleFactor=1.1, minNeighbors=3, minSize=(_SMALLEST_FACE,) * 2, outputRejectLevels=True
        )
        found, scores = _as_arrays(boxes, margins, _CASCADE_CONFIDENCE[name])
        return (_head_and_shoulders(found) if name in _FACES else found), scores


def _head_and_shoulders(faces: np.ndarray) -> np.ndarray:
    """(R, 4) as x, y, width, height, around faces of the same form."""
    left, top, right, bottom = _AROUND_FACE
    x, y, width, height = faces.T
    return np.stack(
        [x - left * width, y - top * height, (1 + left + right) * width, (1 + top + bottom) * height], axis=1
    )


def _as_arrays(boxes: Sequence, margins: Sequence, confidence: _Confidence) -> tuple[np.ndarray, np.ndarray]:
    # OpenCV returns empty tuples where nothing was found, and margins with a further axis in some versions.
    return np.asarray(boxes, np.float64).reshape(-1, 4), confidence(np.asarray(margins, np.float64).reshape(-1))


def _load_cascade(name: str) -> cv2.CascadeClassifier:
    folder = getattr(getattr(cv2, 'data', None), 'haarcascades', None)
    path = Path(folder or '.') / f'haarcascade_{name}.xml'
    if not path.is_file():
        raise ImportError(f'this OpenCV {cv2.__version__} carries no {path.name}: pip install opencv-python')
    return cv2.CascadeClassifier(str(path))
