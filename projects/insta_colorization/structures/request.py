"""What a user says about a photo beside the photo itself."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .instances import Instances
from .sample import Size

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Hint:
    """A colour that the user wants at a place of a photo.

    Attributes:
        ab: a and b of CIELAB, about -110..110.
        box: x0, y0, x1, y1 in whole pixels of the photo, the end exclusive.
        mask: (y1 - y0, x1 - x0) bool, which pixels of the box are meant; None for all.
        certainty: 1 where each pixel has this colour, as at a point; 0.5 where it is the mean of a thing.
        strict: how far, from 0 to 1, the mean colour of the place is moved to this one whatever the networks do; None
            for what `is_followed` says. One below 1 is not shown to the networks.

    Raises:
        ValueError: the colour is not finite, the box has no area or begins outside the photo, the mask does not fit, or
            a number is not in 0..1.
    """

    ab: tuple[float, float]
    box: Box
    mask: np.ndarray | None = None
    certainty: float = 0.5
    strict: float | None = None

    def __post_init__(self) -> None:
        if len(self.ab) != 2 or not all(map(math.isfinite, self.ab)):
            raise ValueError(f'the colour of a hint must be two finite numbers a and b, but got {self.ab}')
        if len(self.box) != 4 or any(int(value) != value for value in self.box):
            raise ValueError(f'the box of a hint must be x0, y0, x1, y1 in whole pixels, but got {self.box}')
        x0, y0, x1, y1 = self.box
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            raise ValueError(f'the box of a hint must have an area inside the photo, but got {self.box}')
        if self.mask is not None and self.mask.shape != (y1 - y0, x1 - x0):
            raise ValueError(
                f'the mask of a hint must have the size of its box, {(y1 - y0, x1 - x0)}, but got {self.mask.shape}'
            )
        if not 0 < self.certainty <= 1:
            raise ValueError(f'the certainty of a hint must lie in 0..1 and not be 0, but got {self.certainty}')
        if self.strict is not None and not 0 < self.strict <= 1:
            raise ValueError(f'the strictness of a hint must lie in 0..1 and not be 0, but got {self.strict}')

    @classmethod
    def at(cls, x: float, y: float, ab: tuple[float, float], radius: int = 2) -> 'Hint':
        """A hint at a point: the square of `2 * radius + 1` pixels around it, cut at the photo's left and top edge."""
        left, top = math.floor(x), math.floor(y)
        box = (max(0, left - radius), max(0, top - radius), left + radius + 1, top + radius + 1)
        return cls(ab, box, certainty=1.0)

    def is_followed(self, strict_hints: bool | None = None) -> bool:
        """Whether the mean colour of the place is moved to this one, whatever the networks do.

        Args:
            strict_hints: of those that do not say it themselves, all or none; None for those with a mask, because the
                outline of a box would show.
        """
        return self.strict is not None or (self.mask is not None if strict_hints is None else strict_hints)


def hint_cells(
    hints: Sequence[Hint], window: Sequence[float], size: int
) -> Iterator[tuple[Hint, tuple[slice, slice], Any]]:
    """Where hints lie on a grid.

    Args:
        hints: in pixels of the photo.
        window: x0, y0, x1, y1 in pixels, the part of the photo that the grid covers.
        size: S, side of the grid.

    Yields:
        Each hint that reaches the window, its rows and columns of the grid, at least one each, and which of those cells
        its mask covers: (rows, columns) bool, or `...` for all.
    """
    left, top = window[:2]
    scale = np.array([size / (window[2] - left), size / (window[3] - top)] * 2)
    corners = (np.array([hint.box for hint in hints]).reshape(-1, 4) - [left, top, left, top]) * scale
    reaching = (corners[:, 2:] > 0).all(axis=1) & (corners[:, :2] < size).all(axis=1)
    start = np.floor(corners[:, :2] + 0.5).astype(int).clip(0, size - 1)
    end = np.maximum(np.floor(corners[:, 2:] + 0.5).astype(int), start + 1).clip(max=size)
    for number in reaching.nonzero()[0].tolist():
        hint, (x0, y0), (x1, y1) = hints[number], start[number].tolist(), end[number].tolist()
        inside: Any = ...
        if hint.mask is not None:
            rows, columns = (
                ((np.arange(first, last) + 0.5 - low) / (high - low) * count).astype(int).clip(0, count - 1)
                for first, last, low, high, count in zip(
                    (y0, x0), (y1, x1), corners[number, [1, 0]], corners[number, [3, 2]], hint.mask.shape, strict=True
                )
            )
            inside = hint.mask[rows[:, None], columns].astype(bool)
        yield hint, (slice(y0, y1), slice(x0, x1)), inside


@dataclass(frozen=True, eq=False)
class Request:
    """What is wanted of one photo; what is None or empty is left to the model.

    Attributes:
        instances: R instances of the photo.
        hints: colours at places of the photo; of those that overlap, the last one counts.
        map: (H, W) integers, the class of each pixel of the photo.
        caption: a text that says which colours things have.
        native: whether the picture of the published pipeline is wanted.

    Raises:
        ValueError: the instances are those of several photos, the map is no plane of integers, or the caption has no
            words.
    """

    instances: Instances | None = None
    hints: tuple[Hint, ...] = ()
    map: np.ndarray | None = None
    caption: str | None = None
    native: bool = False

    def __post_init__(self) -> None:
        if self.instances is not None and self.instances.num_images != 1:
            raise ValueError(f'a request is about one photo, but got instances of {self.instances.num_images}')
        if self.map is not None and (self.map.ndim != 2 or not np.issubdtype(self.map.dtype, np.integer)):
            raise ValueError(f'a map must be (H, W) integers, but got {self.map.dtype} of shape {self.map.shape}')
        if self.caption is not None and not any(map(str.isalnum, self.caption)):
            raise ValueError(f'a caption must have words, but got {self.caption!r}')

    @property
    def wishes(self) -> frozenset[str]:
        """What it says beside the instances: of 'hints', 'map' and 'caption'."""
        given = {'hints': bool(self.hints), 'map': self.map is not None, 'caption': self.caption is not None}
        return frozenset(name for name, there in given.items() if there)

    def check_size(self, size: Size) -> None:
        """Raises `ValueError` unless everything in it lies in a photo of this (height, width)."""
        if self.instances is not None and tuple(self.instances.image_size[0].tolist()) != tuple(size):
            raise ValueError(
                f'the instances lie in an image of size {tuple(self.instances.image_size[0].tolist())}, '
                f'but the photo has {tuple(size)}'
            )
        if self.map is not None and self.map.shape != tuple(size):
            raise ValueError(f'the map has size {self.map.shape}, but the photo has {tuple(size)}')
        for hint in self.hints:
            if hint.box[0] >= size[1] or hint.box[1] >= size[0]:
                raise ValueError(f'the hint at {hint.box} lies outside the photo, whose size is {tuple(size)}')
