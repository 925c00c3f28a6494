"""Repainting the classes of a photo, and the colours that follow, without any window.

Coordinates are x, y in pixels of the photo, x right, y down. Shape legend: H, W the photo; S the network's input size.
"""

import os
from collections import deque
from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np
import torch
from torch import Tensor

from insta_colorization.colorspace import from_signed
from insta_colorization.imaging.maps import read_map, write_map
from insta_colorization.structures import NUM_CLASSES, Request, Size, check_classes, resize_map
from insta_colorization.structures.request import Box

from .colorizer import SemanticColorizer

Point = tuple[float, float]


class MapEditor:
    """A map that a person repaints; every step can be undone.

    Args:
        ids: (H, W) integers, classes 0..59; a copy is edited.
        most_steps: how many steps can be undone; the oldest ones are forgotten.

    Raises:
        ValueError: it is no map.
    """

    def __init__(self, ids: np.ndarray, most_steps: int = 200) -> None:
        check_classes(ids)
        self._ids = np.array(ids, np.uint8)
        self._undo: deque[tuple[Box, np.ndarray]] = deque(maxlen=most_steps)
        self._redo: list[tuple[Box, np.ndarray]] = []

    @property
    def ids(self) -> np.ndarray:
        """The map as it is now, (H, W) uint8; a view that cannot be written."""
        view = self._ids.view()
        view.flags.writeable = False
        return view

    def pick(self, x: float, y: float) -> int:
        """The class at a point.

        Raises:
            ValueError: it lies outside the picture.
        """
        column, row = self._cell(x, y)
        return int(self._ids[row, column])

    def brush(self, points: Sequence[Point], label: int, diameter: int = 2, inside: bool = False) -> Box | None:
        """Paints an unbroken line along points; what sticks out of the picture is cut off.

        Args:
            points: at least one.
            label: the class to paint.
            diameter: of the round brush, in pixels.
            inside: whether only the connected segment is painted in which the stroke begins.

        Returns:
            The box x0, y0, x1, y1 of what changed, the end exclusive; None if nothing did.

        Raises:
            ValueError: there is no such class, the diameter is below 1, or no point lies in the picture.
        """
        if diameter < 1:
            raise ValueError(f'the diameter of the brush must be at least 1, but got {diameter}')
        height, width = self._ids.shape
        start = next(((x, y) for x, y in points if 0 <= x < width and 0 <= y < height), None)
        if start is None:
            where = points[0] if len(points) else 'no point'
            raise ValueError(f'the brush at {where} lies outside the picture of width {width} and height {height}')
        mask = _stroke(points, int(diameter), (height, width))
        if inside:
            mask &= self._segment(*start)
        return self._paint(mask, label)

    def fill(self, x: float, y: float, label: int) -> Box | None:
        """Gives the connected segment at a point another class; returns and raises as `brush`."""
        return self._paint(self._segment(x, y), label)

    def undo(self) -> Box:
        """Takes the last step back; returns the box of what changed.

        Raises:
            ValueError: there is none.
        """
        return self._step(self._undo, self._redo, 'undo')

    def redo(self) -> Box:
        """Takes the last undoing back; returns the box of what changed.

        Raises:
            ValueError: there is none, or something was painted since.
        """
        return self._step(self._redo, self._undo, 'redo')

    def load(self, path: str | os.PathLike[str]) -> Box | None:
        """Replaces the map by a file's (`imaging.maps.read_map`) of any size, a step like others; see `brush`."""
        return self._replace(resize_map(read_map(path), (self._ids.shape[0], self._ids.shape[1])))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the map as an indexed PNG of the photo's size."""
        write_map(self._ids, path)

    def _cell(self, x: float, y: float) -> tuple[int, int]:
        height, width = self._ids.shape
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f'the point {x, y} lies outside the picture of width {width} and height {height}')
        return int(x), int(y)

    def _segment(self, x: float, y: float) -> np.ndarray:
        """(H, W) of 0 and 1: the connected pixels of one class around a point."""
        mask = np.zeros((self._ids.shape[0] + 2, self._ids.shape[1] + 2), np.uint8)
        cv2.floodFill(self._ids, mask, self._cell(x, y), (0,), (0,), (0,), 4 | cv2.FLOODFILL_MASK_ONLY | 1 << 8)
        return mask[1:-1, 1:-1]

    def _paint(self, mask: np.ndarray, label: int) -> Box | None:
        if not 0 <= label < NUM_CLASSES:
            raise ValueError(f'a class must lie in 0..{NUM_CLASSES - 1}, but got {label}')
        return self._replace(np.where(mask, np.uint8(label), self._ids))

    def _replace(self, ids: np.ndarray) -> Box | None:
        box = changed_box(self._ids, ids)
        if box is None:
            return None
        x0, y0, x1, y1 = box
        part = self._ids[y0:y1, x0:x1]
        self._undo.append((box, part.copy()))
        self._redo.clear()
        part[:] = ids[y0:y1, x0:x1]
        return box

    def _step(
        self, source: deque[tuple[Box, np.ndarray]] | list[tuple[Box, np.ndarray]], target: object, name: str
    ) -> Box:
        if not source:
            raise ValueError(f'there is nothing to {name}')
        box, before = source.pop()
        x0, y0, x1, y1 = box
        part = self._ids[y0:y1, x0:x1]
        target.append((box, part.copy()))  # type: ignore[attr-defined]
        part[:] = before
        return box


class Recolorer:
    """The colours of one photo under changing maps.

    What the photo's own stream gives is kept, and so is every colour that a change of the map cannot reach: it stays
    equal bit by bit.

    Args:
        colorizer: with its weights, in evaluation mode.
        image: the photo, (H, W, 3) uint8 RGB.
        size: S, a multiple of the networks' `size_divisor`.
    """

    @torch.inference_mode()
    def __init__(self, colorizer: SemanticColorizer, image: np.ndarray, size: int) -> None:
        self.colorizer = colorizer
        self.size = size
        self._device = next(colorizer.parameters()).device
        packed = colorizer.pack(image, Request(), size)
        self.gray = packed['inputs']['gray'][None, None].to(self._device).float() / 255
        self._photo = colorizer.color_net.see(self.gray)
        self._ids: np.ndarray | None = None
        self._ab = torch.zeros(1, 2, size, size, device=self._device)

    @cached_property
    @torch.inference_mode()
    def seen(self) -> np.ndarray:
        """The segmenter's map, (S, S) uint8."""
        return self.colorizer.segment(self.gray)[0].byte().cpu().numpy()

    @cached_property
    @torch.inference_mode()
    def _seen_ab(self) -> Tensor:
        """What the networks give for it, (1, 2, S, S); see `SemanticColorizer.guide`."""
        ids = torch.from_numpy(self.seen)[None].to(self._device)
        return from_signed(self.colorizer.color_net.join(self._photo, self.colorizer.color_net.read(ids.long())))

    @torch.inference_mode()
    def color(self, ids: np.ndarray) -> Tensor:
        """ab (2, S, S) in network units on the CPU, for a map (h, w) of any size."""
        ids = resize_map(ids, (self.size, self.size))
        reached = (0, 0, self.size, self.size)
        if self._ids is not None:
            box = changed_box(self._ids, ids)
            if box is None:
                return self._ab[0].cpu().clone()
            reached = self._grown(box)
        x0, y0, x1, y1 = reached
        left, top, right, bottom = self._grown(reached, self.colorizer.size_divisor)
        part = torch.from_numpy(ids[top:bottom, left:right].copy())[None].to(self._device)
        out = self.colorizer.color_net.join(
            [self._window(skip, (left, top, right, bottom)) for skip in self._photo],
            self.colorizer.color_net.read(part.long()),
        )
        given = from_signed(out)
        if self.colorizer.map_guidance != 1:
            given = self.colorizer.guide(self._seen_ab[..., top:bottom, left:right], given)
        ab = self.colorizer.decoder(given, None)
        self._ab[..., y0:y1, x0:x1] = ab[..., y0 - top : y1 - top, x0 - left : x1 - left]
        self._ids = ids.copy()
        return self._ab[0].cpu().clone()

    def _grown(self, box: Box, multiple: int = 1) -> Box:
        """What a box reaches or is reached from, outwards to multiples of a number."""
        reach = self.colorizer.color_net.reach
        x0, y0 = (max(0, (start - reach) // multiple * multiple) for start in box[:2])
        x1, y1 = (min(self.size, -(-(end + reach) // multiple) * multiple) for end in box[2:])
        return x0, y0, x1, y1

    def _window(self, skip: Tensor, box: Box) -> Tensor:
        stride = self.size // skip.shape[-1]
        x0, y0, x1, y1 = (edge // stride for edge in box)
        return skip[..., y0:y1, x0:x1]


class EditingSession:
    """A photo, its map, and the colours that follow: soon, at the preview's size, and fully.

    ```python
    session = EditingSession(predictor.model, photo.rgb8)
    session.editor.fill(320, 40, SEMANTIC_CLASSES.index('sky'))
    picture = colorize_pixels(photo.pixels, session.colors(preview=True))
    ```

    Args:
        colorizer: with its weights, in evaluation mode.
        image: the photo, (H, W, 3) uint8 RGB.
        ids: (H, W) its map; None for the segmenter's.
        size: S, of the full answer.
        preview_size: of the soon one.

    Attributes:
        editor: the map, at the photo's size.

    Raises:
        ValueError: the map is none, or has another size than the photo.
    """

    def __init__(
        self,
        colorizer: SemanticColorizer,
        image: np.ndarray,
        ids: np.ndarray | None = None,
        size: int = SemanticColorizer.native_size,
        preview_size: int = 160,
    ) -> None:
        self._made_of = colorizer, image
        self._preview_size = preview_size
        self._full = Recolorer(colorizer, image, size)
        if ids is not None and ids.shape != image.shape[:2]:
            raise ValueError(f'the map has size {ids.shape}, but the photo has {image.shape[:2]}')
        photo_size = (image.shape[0], image.shape[1])
        self.editor = MapEditor(resize_map(self._full.seen, photo_size) if ids is None else ids)

    @cached_property
    def _preview(self) -> Recolorer:
        return Recolorer(*self._made_of, self._preview_size)

    def colors(self, preview: bool = False) -> Tensor:
        """ab (2, S, S) in network units for the map as it is now, for `colorize_pixels`."""
        return (self._preview if preview else self._full).color(self.editor.ids)


def _stroke(points: Sequence[Point], diameter: int, size: Size) -> np.ndarray:
    """(H, W) of 0 and 1: a disc drawn along a line."""
    # A line has two ends, also where the brush stood still.
    track = np.floor([points[0], *points]).astype(np.int64)
    low, high = (
        np.clip(end, -diameter, [size[1] + diameter, size[0] + diameter]) for end in (track.min(0), track.max(0))
    )
    x0, y0 = np.maximum(low - diameter, 0)
    x1, y1 = np.minimum(high + diameter + 1, size[::-1])
    # Drawn with a margin, so that what lies outside the picture reaches into it.
    drawn = np.zeros((max(0, y1 - y0) + 2 * diameter, max(0, x1 - x0) + 2 * diameter), np.uint8)
    shifted = (track - [x0 - diameter, y0 - diameter]).astype(np.int32)
    cv2.polylines(drawn, [shifted.reshape(-1, 1, 2)], isClosed=False, color=(1,))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    mask = np.zeros(size, np.uint8)
    mask[y0:y1, x0:x1] = cv2.dilate(drawn, disc)[diameter:-diameter, diameter:-diameter]
    return mask


def changed_box(before: np.ndarray, after: np.ndarray) -> Box | None:
    """The box of where two maps (H, W) differ, the end exclusive; None if nowhere."""
    changed = before != after
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
