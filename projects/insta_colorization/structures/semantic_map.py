"""The class of each pixel of a photo."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .labels import NUM_CLASSES
from .sample import PhotoField, Size


def check_classes(ids: Any, what: str = 'a map') -> None:
    """Checks that an array is a map of classes.

    Args:
        ids: the array.
        what: what to call it in errors.

    Raises:
        ValueError: it is no (H, W) of integers, is empty, or has a number that is no class.
    """
    ids = np.asarray(ids)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer) or not ids.size:
        raise ValueError(f'{what} must be (H, W) integers, but is {ids.dtype} of shape {ids.shape}')
    beyond = (ids < 0) | (ids >= NUM_CLASSES)
    if beyond.any():
        y, x = divmod(int(beyond.argmax()), ids.shape[1])
        raise ValueError(f'{what} must have the classes 0..{NUM_CLASSES - 1}, but has {ids[y, x]} at x {x}, y {y}')


def resize_map(ids: np.ndarray, size: Size) -> np.ndarray:
    """A map (H, W) at another (height, width): the class at the centre of each pixel.

    Enlarged and brought back, a map is what it was.
    """
    if ids.shape == tuple(size):
        return ids
    rows, columns = (
        np.minimum((np.arange(count) + 0.5) * have / count, have - 1).astype(int)
        for count, have in zip(size, ids.shape, strict=True)
    )
    return ids[rows[:, None], columns]


@dataclass(frozen=True, eq=False)
class SemanticMap(PhotoField):
    """A map that moves with its photo.

    Attributes:
        ids: (H, W) uint8, classes of `SEMANTIC_CLASSES`; `UNKNOWN` where nobody has said.
    """

    ids: np.ndarray

    def crop(self, rows: slice, columns: slice) -> Self:
        """Of the part of the photo in a window of it."""
        return type(self)(self.ids[rows, columns])

    def flip(self) -> Self:
        """Of the photo mirrored left to right."""
        return type(self)(self.ids[:, ::-1])

    def resize(self, size: Size) -> Self:
        """Of the photo squashed to (height, width), by nearest."""
        return type(self)(resize_map(self.ids, size))
