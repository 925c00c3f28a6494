"""Manual corrections of photos as JSON: made in the studio, repeated on the command line.

An edit is `{"size": [h, w], "objects": [...], "points": [...], "caption": ..., "preset": ..., "saturation": ...,
"strength": ...}`, in which every field is optional; docs/studio.md describes it. Coordinates are x, y in pixels of a
photo of that size, and are scaled to a copy of another size. A file has edits by the names of photos.
"""

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from insta_colorization.fileio.entries import PhotoEntries, read_json
from insta_colorization.fileio.hints import parse_color, within_srgb
from insta_colorization.imaging.maps import read_map
from insta_colorization.imaging.photo import Photo
from insta_colorization.models.language.steering import ellipse
from insta_colorization.models.patch.outlines import has_mask, with_masks
from insta_colorization.structures import COCO_CLASSES, Hint, Instances, Request, Size, resize_map
from insta_colorization.utils.options import ColourOptions

from .predictor import Predictor, places

# More than anyone makes by hand; a larger file would only take time.
_MOST = {'objects': 200, 'points': 2000, 'polygons': 50, 'corners': 5000, 'characters': 2000, 'map pixels': 10**8}
_FARTHEST = 1e6
_VERSION = 1
_DEFAULT_RADIUS = 2.0


@dataclass(frozen=True, eq=False)
class ObjectEdit:
    """An object of a photo.

    Attributes:
        box: x0, y0, x1, y1, the end exclusive.
        outline: polygons (K, 2) of x, y; nested ones are holes; () is the ellipse in the box.
        label: the name of its class, or None.
        color: its a and b of CIELAB; None leaves the colour to the networks.
        on: whether it is used.
    """

    box: tuple[float, ...]
    outline: tuple[np.ndarray, ...] = ()
    label: str | None = None
    color: tuple[float, float] | None = None
    on: bool = True

    @classmethod
    def parse(cls, entry: Any) -> 'ObjectEdit':
        """Makes one of what JSON has; raises `ValueError`."""
        _require_keys(entry, {'box', 'outline', 'label', 'color', 'on'}, 'an object')
        box = _numbers(entry.get('box'), 'box', 4)
        if not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f'`box` must be x0, y0, x1, y1 with an area, but got {list(box)}')
        polygons = _list(entry.get('outline') or [], 'outline', 'polygons')
        outline = tuple(_polygon(polygon) for polygon in polygons)
        label, on = entry.get('label'), entry.get('on', True)
        if not isinstance(label, str | None) or not isinstance(on, bool):
            raise ValueError(f'`label` must be a text and `on` true or false, but got {label!r} and {on!r}')
        return cls(box, outline, label and label[:100], _color(entry.get('color')), on)

    def scaled(self, scale: np.ndarray) -> 'ObjectEdit':
        """The object on a photo whose width and height are `scale` (2,) times those of the edit's."""
        box = tuple((np.array(self.box) * np.tile(scale, 2)).tolist())
        return replace(self, box=box, outline=tuple(polygon * scale for polygon in self.outline))


@dataclass(frozen=True)
class PointEdit:
    """A colour at a point, which the networks spread; they see it in the square of `radius` pixels around the point."""

    x: float
    y: float
    color: tuple[float, float]
    radius: float = _DEFAULT_RADIUS

    @classmethod
    def parse(cls, entry: Any) -> 'PointEdit':
        """Makes one of what JSON has; raises `ValueError`."""
        _require_keys(entry, {'point', 'color', 'radius'}, 'a point')
        x, y = _numbers(entry.get('point'), 'point', 2)
        (radius,) = _numbers([entry.get('radius', _DEFAULT_RADIUS)], 'radius', 1)
        color = _color(entry.get('color'))
        if color is None or radius < 0:
            raise ValueError(f'a point must have a `color` and a `radius` of at least 0, but got {entry!r}')
        return cls(x, y, color, radius)

    def hint(self, size: Size, scale: np.ndarray, number: int) -> Hint:
        """The hint on a photo of `size` (height, width), which is `scale` (2,) times as wide and high as the edit's."""
        x, y = self.x * scale[0], self.y * scale[1]
        if not (0 <= x < size[1] and 0 <= y < size[0]):
            place = f'({self.x:g}, {self.y:g})'
            raise ValueError(
                f'point {number} at {place} lies outside the photo of width {size[1]} and height {size[0]}'
            )
        hint = Hint.at(x, y, self.color, round(self.radius * float(scale.mean())))
        x0, y0, x1, y1 = hint.box
        return replace(hint, box=(x0, y0, min(x1, size[1]), min(y1, size[0])))


@dataclass(frozen=True, eq=False)
class Edit:
    """The corrections of one photo.

    Attributes:
        size: (height, width) of the photo that the coordinates refer to; None for that of the photo itself.
        objects: all its objects; None lets the detector find them.
        points: colours at points.
        labels: {name of a class: a and b}, colours of the objects that the detector finds.
        map: (H, W) uint8, the class of each pixel, or None.
        caption: see `Predictor.predict`.
        preset: one of the weights' presets; None for their default.
        saturation: see `ColourOptions`; None for that of the run.
        strength: likewise.
    """

    size: Size | None = None
    objects: tuple[ObjectEdit, ...] | None = None
    points: tuple[PointEdit, ...] = ()
    labels: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    map: np.ndarray | None = None
    caption: str | None = None
    preset: str | None = None
    saturation: float | None = None
    strength: float | None = None

    @classmethod
    def parse(cls, entry: Any) -> 'Edit':
        """Makes one of what JSON has.

        Raises:
            ValueError: something in it cannot be used; the message says what.
        """
        names = {'size', 'objects', 'points', 'map', 'caption', 'preset', 'saturation', 'strength'}
        _require_keys(entry, names, 'an edit')
        size, objects, caption, preset = (entry.get(name) for name in ('size', 'objects', 'caption', 'preset'))
        if size is not None:
            size = tuple(map(int, _numbers(size, 'size', 2)))
            if min(size) < 1:
                raise ValueError(f'`size` must be a height and a width of at least 1, but got {entry["size"]}')
        if not isinstance(caption, str | None) or not isinstance(preset, str | None):
            raise ValueError(f'`caption` and `preset` must be texts, but got {caption!r} and {preset!r}')
        if caption is not None and len(caption) > _MOST['characters']:
            raise ValueError(f'a caption has at most {_MOST["characters"]} characters, but got {len(caption)}')
        saturation, strength = (
            None if entry.get(name) is None else _numbers([entry[name]], name, 1)[0]
            for name in ('saturation', 'strength')
        )
        edit = cls(
            size,
            None if objects is None else tuple(_parsed(ObjectEdit, objects, 'objects')),
            tuple(_parsed(PointEdit, entry.get('points') or [], 'points')),
            map=None if entry.get('map') is None else _map(entry['map']),
            caption=caption.strip() or None if caption else None,
            preset=preset,
            saturation=saturation,
            strength=strength,
        )
        edit.colour(ColourOptions())
        return edit

    def colour(self, default: ColourOptions) -> ColourOptions:
        """The colour options of the photo: the edit's, or else those of `default`."""
        said = {name: getattr(self, name) for name in ('saturation', 'strength') if getattr(self, name) is not None}
        return replace(default, **said)

    def instances(self, size: Size) -> Instances:
        """The objects that are on, with masks, on a photo of this (height, width).

        Raises:
            ValueError: one lies outside the photo, or the aspect ratio differs from that of the edit's photo.
        """
        scale = self._scale(size)
        return _instances([each.scaled(scale) for each in self.objects or () if each.on], size)

    def pack(
        self, predictor: Predictor, photo: Photo, found: Instances | None = None, name: str = ''
    ) -> dict[str, Any]:
        """Makes the networks' input for a photo, see `Predictor.pack`.

        The networks do not see the colours of objects: the objects' mean colours are shifted afterwards, so that
        nothing else in the picture changes with them.

        Args:
            predictor: packs the data.
            photo: the photo.
            found: the detected objects, for an edit that does not list objects.
            name: the photo's name in records.

        Raises:
            ValueError: the edit does not fit the photo, or the model cannot use what it asks for.
        """
        size, scale = photo.size, self._scale(photo.size)
        instances = Instances.empty(size) if found is None else found
        colors: list[tuple[float, float] | None]
        if self.objects is not None:
            instances, colors = self.instances(size), [each.color for each in self.objects if each.on]
        else:
            colors = [self.labels.get(label or '') for label in labels_of(instances)]
            if any(colors):
                instances = outlined(photo.rgb8, instances)
        points = tuple(point.hint(size, scale, number) for number, point in enumerate(self.points))
        classes = None if self.map is None else resize_map(self.map, size)
        request = Request(instances, within_srgb(points, photo.pixels) if points else (), classes, self.caption)
        predictor.check(request)
        data = predictor.pack(photo, request, name)
        wanted = [
            Hint(color, *place, strict=1.0)
            for color, place in zip(colors, places(instances), strict=True)
            if color is not None
        ]
        if wanted:
            wanted.sort(key=lambda hint: (hint.box[0] - hint.box[2]) * (hint.box[3] - hint.box[1]))  # small ones on top
            sample = data['data_samples']
            sample.set_metainfo({'used_hints': (*sample.used_hints, *within_srgb(wanted, photo.pixels))})
        return data

    def _scale(self, size: Size) -> np.ndarray:
        """(2,) the width and height of a photo relative to those of the edit's photo."""
        if self.size is None or self.size == size:
            return np.ones(2)
        scale = np.array([size[1] / self.size[1], size[0] / self.size[0]])
        # Rounding moves the sides of a small copy by up to a pixel.
        if abs(scale[0] / scale[1] - 1) > 1 / min(*size, *self.size):
            (height, width), (own_height, own_width) = size, self.size
            raise ValueError(
                f'the edit is of a photo of height {own_height} and width {own_width}, but this one has height '
                f'{height} and width {width}'
            )
        return scale


class EditFile(PhotoEntries[Edit]):
    """A JSON file of edits: `{"edits": 1, "photos": {name: edit}, "labels": {class: colour}}`.

    `labels` are the colours of the objects in photos that the file does not name.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or an edit in it cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        content = read_json(path, 'file of edits')
        version = content.get('edits') if isinstance(content, Mapping) else None
        if version != _VERSION:
            raise ValueError(f'{path} must be an object with "edits": {_VERSION}, but has {version!r} there')
        photos, labels = content.get('photos', {}), content.get('labels', {})
        if not isinstance(photos, Mapping) or not isinstance(labels, Mapping):
            raise ValueError(f'{path} must have objects as `photos` and `labels`, but has {photos!r} and {labels!r}')
        entries = {}
        for name, entry in photos.items():
            try:
                entries[name] = (Edit.parse(entry),)
            except ValueError as error:
                raise ValueError(f'{path}, photo {name}: {error}') from error
        try:
            colors = {label: parse_color(color) for label, color in labels.items()}
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        self._others = Edit(labels=colors)
        super().__init__(path, 'edits', entries)

    def check(self, photos: Sequence[str]) -> None:
        """Looks all photos of a run up before it begins, see `PhotoEntries.check`."""
        if not self._others.labels:
            super().check(photos)

    def edit_of(self, photo: str) -> Edit:
        """The edit of a photo; one by labels alone where the file does not name it."""
        return next(iter(self.of(photo)), self._others)


def outlined(image: np.ndarray, instances: Instances) -> Instances:
    """Instances of a photo (H, W, 3) uint8 RGB with masks: their own, by GrabCut in their boxes, or else ellipses."""
    masked, _ = with_masks(image, instances, 'grabcut')
    boxes = masked.in_pixels().tolist()
    masks = [
        mask if has_mask(mask) else torch.from_numpy(ellipse(box))
        for mask, box in zip(masked.masks or (), boxes, strict=True)
    ]
    return replace(masked, masks=tuple(masks))


def labels_of(instances: Instances) -> list[str | None]:
    """The name of each instance's class, None where it is unknown."""
    numbers = [-1] * len(instances) if instances.labels is None else instances.labels.tolist()
    return [instances.classes[number] if number >= 0 else None for number in numbers]


def polygons_of(mask: np.ndarray, box: Sequence[int], tolerance: float) -> list[list[list[float]]]:
    """The contours of a mask (h, w) in its box, as polygons in the photo, accurate to `tolerance` pixels."""
    lines, _ = cv2.findContours(np.pad(mask.astype(np.uint8), 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = [cv2.approxPolyDP(line, tolerance, True)[:, 0] for line in lines]
    return [(polygon - 0.5 + box[:2]).tolist() for polygon in polygons if len(polygon) > 2][: _MOST['polygons']]


def _instances(objects: Sequence[ObjectEdit], size: Size) -> Instances:
    """The objects of a photo of this (height, width), with masks."""
    height, width = size
    for number, each in enumerate(objects):
        x0, y0, x1, y1 = each.box
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            box = [round(value, 2) for value in each.box]
            raise ValueError(f'box {number}, {box}, lies outside the photo of width {width} and height {height}')
    others = dict.fromkeys(each.label for each in objects if each.label and each.label not in COCO_CLASSES)
    classes = (*COCO_CLASSES, *(label for label in others if label))
    labels = [classes.index(each.label) if each.label else -1 for each in objects]
    found = Instances.clipped([each.box for each in objects], size, labels=labels, classes=classes)
    masks = [_mask(each, box) for each, box in zip(objects, found.in_pixels().tolist(), strict=True)]
    return replace(found, masks=tuple(map(torch.from_numpy, masks)))


def _mask(each: ObjectEdit, box: Sequence[int]) -> np.ndarray:
    """(h, w) bool, an object in its box of whole pixels."""
    x0, y0, x1, y1 = box
    if not each.outline:
        return ellipse((x0, y0, x1, y1))
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    fraction = 4  # bits
    corners = [((polygon - [x0 + 0.5, y0 + 0.5]) * 2**fraction).round().astype(np.int32) for polygon in each.outline]
    cv2.fillPoly(mask, corners, (1,), shift=fraction)
    return mask.astype(bool) if mask.any() else ellipse((x0, y0, x1, y1))


def _parsed(kind: Any, entries: Any, name: str) -> Iterator[Any]:
    for number, entry in enumerate(_list(entries, name, name)):
        try:
            yield kind.parse(entry)
        except ValueError as error:
            raise ValueError(f'{name} {number}: {error}') from error


def _require_keys(entry: Any, known: set[str], what: str) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f'{what} must be an object of JSON, but got {str(entry)[:80]}')
    if unknown := sorted(map(str, entry.keys() - known)):
        raise ValueError(f'{what} can have {", ".join(sorted(known))}, but has {unknown[0][:80]!r}')


def _list(value: Any, name: str, kind: str) -> list:
    if not isinstance(value, list) or len(value) > _MOST[kind]:
        got = len(value) if isinstance(value, list) else repr(value)[:80]
        raise ValueError(f'`{name}` must be a list of at most {_MOST[kind]} {kind}, but got {got}')
    return value


def _numbers(value: Any, name: str, count: int) -> tuple[float, ...]:
    what = f'{count} numbers' if count > 1 else 'a number'
    if not isinstance(value, list | tuple) or len(value) != count:
        raise ValueError(f'`{name}` must be {what}, but got {repr(value)[:80]}')
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int | float) or not abs(each) <= _FARTHEST:
            raise ValueError(f'`{name}` must be {what} within {_FARTHEST:g}, but got {repr(each)[:80]}')
    return tuple(map(float, value))


def _polygon(value: Any) -> np.ndarray:
    corners = _list(value, 'outline', 'corners')
    if len(corners) < 3:
        raise ValueError(f'a polygon must have at least 3 corners, but got {len(corners)}')
    return np.array([_numbers(corner, 'outline', 2) for corner in corners])


def _color(value: Any) -> tuple[float, float] | None:
    color = None if value is None else parse_color(value)
    if color is not None and not all(abs(each) <= 200 for each in color):
        raise ValueError(f'a and b of a colour must lie in -200..200, but got {value!r}')
    return color


def _map(value: Any) -> np.ndarray:
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f'`map` must be the base64 of a PNG, but {error}') from error
    return read_map(io.BytesIO(data), max_pixels=_MOST['map pixels'])
