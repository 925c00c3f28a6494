"""What every detector keeps to, and what every detector sees."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from insta_colorization.registry import MODELS
from insta_colorization.structures import Instances, Size


@runtime_checkable
class InstanceDetector(Protocol):
    """Finds the objects of photos.

    Attributes:
        score_thr: the score from which this detector's boxes are worth using, 0..1. It is a default for the caller:
            `selection.select` is the only place that applies a threshold.
    """

    score_thr: float

    def detect(self, images: list[np.ndarray], paths: Sequence[str] | None = None) -> list[Instances]:
        """Finds the instances of each photo.

        Args:
            images: photos of any sizes, (H, W, 3) uint8 RGB each, at their own resolution.
            paths: the file behind each photo. Only `CachedDetector` needs it.

        Returns:
            One `Instances` of a single image for each photo, clipped to it and not yet selected.

        Raises:
            TypeError: an image is not a uint8 array.
            ValueError: an image has another shape, or a box is not finite or is inverted.
        """
        ...


def lightness_copies(image: np.ndarray) -> np.ndarray:
    """What the paper's detector saw: three copies of OpenCV's 8-bit L.

    Detectors are trained on colour photos, yet at test time the photo is grey; feeding L on colour input as well makes
    boxes independent of colours that the network never sees.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W, 3) uint8; L of CIELAB scaled from 0..100 to 0..255.

    Raises:
        TypeError: not a uint8 array.
        ValueError: another shape, or no pixels.
    """
    check_image(image)
    lightness = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0]
    return np.repeat(lightness[..., None], 3, axis=2)


def check_image(image: np.ndarray) -> None:
    """Raises if `image` is not a photo as detectors take it, (H, W, 3) uint8 with at least one pixel."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, 'dtype', type(image).__name__)
        raise TypeError(f'a detector takes uint8 arrays, but got {kind}')
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f'a detector takes images of shape (H, W, 3), but got shape {image.shape}')


def image_size(image: np.ndarray) -> Size:
    """(height, width) of an image (H, W, C)."""
    return image.shape[0], image.shape[1]


@MODELS.register_module()
class NoDetector:
    """Finds nothing, so that every photo is coloured by the full-image network alone.

    Args:
        score_thr: see `InstanceDetector`; nothing depends on it.
    """

    def __init__(self, score_thr: float = 0.0) -> None:
        self.score_thr = score_thr

    def detect(self, images: list[np.ndarray], paths: Sequence[str] | None = None) -> list[Instances]:
        """No instances for each photo; see `InstanceDetector.detect`."""
        for image in images:
            check_image(image)
        return [Instances.empty(image_size(image)) for image in images]
