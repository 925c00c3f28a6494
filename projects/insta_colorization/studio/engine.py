"""The studio's operations on photos; everything here runs in the inference process.

Photos are files in the studio's own folder, named by their ids; users' names for them are only displayed, never opened.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import numpy as np

from insta_colorization.apis.edits import Edit, labels_of, outlined, polygons_of
from insta_colorization.apis.marking import Marker
from insta_colorization.apis.predictor import Prediction, Predictor
from insta_colorization.imaging.maps import encode_map
from insta_colorization.imaging.photo import WRITABLE_SUFFIXES, Photo, decode_photo
from insta_colorization.imaging.rendering import colorize_pixels
from insta_colorization.structures import (
    CLASS_COLOURS,
    COCO_CLASSES,
    SEMANTIC_CLASSES,
    ColorizationSample,
    Instances,
    Size,
    resize_map,
)
from insta_colorization.utils.options import ColourOptions, MarkOptions

T = TypeVar('T')

# How many pixels previews have at most.
PREVIEW_PIXELS = 900 * 600
_SUGGESTIONS = 6
_MOST_VARIANTS = 8
# Settings of an edit that only the steps after inference use.
_AFTER_NETWORKS = ('saturation', 'strength')


class Recent(Generic[T]):
    """A cache of the most recently used results, for one thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The cached value for a key, or else a new one."""
        if key not in self._kept:
            while len(self._kept) >= self.most:  # before the next one is made, so that there are never more
                self._kept.popitem(last=False)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        return self._kept[key]


class Engine:
    """Colours the studio's photos.

    Args:
        predictor: colours them.
        preview_pixels: how many pixels previews have at most.
        marks: how results say that they were colourised.
    """

    def __init__(
        self, predictor: Predictor, preview_pixels: int = PREVIEW_PIXELS, marks: MarkOptions | None = None
    ) -> None:
        self.predictor = predictor
        self.preview_pixels = preview_pixels
        self.marker = Marker(marks)
        self._photos: Recent[Photo] = Recent(1)
        self._previews: Recent[tuple[Photo, Size]] = Recent(16)
        self._samples: Recent[ColorizationSample] = Recent(16)
        self._found: Recent[Instances] = Recent(16)
        self._suggested: Recent[list[dict[str, Any]]] = Recent(64)

    def describe(self) -> dict[str, Any]:
        """What the studio can do with these weights.

        Returns:
            `presets`, `points` (whether the networks follow hints), `suggestions` (whether they can suggest colours),
            `classes` of objects, `map_classes` with `name` and `color` (none if the networks take no map), and the
            `formats` of results.
        """
        return {
            'presets': list(self.predictor.model.presets),
            'points': self.predictor.follows_hints,
            'suggestions': self.predictor.suggests,
            'classes': list(COCO_CLASSES),
            'map_classes': [
                {'name': name, 'color': _hex(color)}
                for name, color in zip(SEMANTIC_CLASSES, CLASS_COLOURS.tolist(), strict=True)
                if self._takes_maps
            ],
            'formats': [suffix.removeprefix('.') for suffix in WRITABLE_SUFFIXES],
        }

    @property
    def _takes_maps(self) -> bool:
        return 'map' in self.predictor.model.uses

    def open(self, path: str, name: str) -> dict[str, Any]:
        """The `size` (height, width) of a photo, its `bits` a channel and the `objects` in it, as edits have them."""
        preview, size = self._preview(path, name)
        found = self._objects(preview, path, name) if self.predictor.detects else Instances.empty(preview.size)
        scale = _scale(preview, size)
        boxes = zip(found.boxes.tolist(), found.in_pixels().tolist(), found.masks or (), strict=True)
        objects = [
            {
                'box': [round(value, 1) for value in (np.array(box) * np.tile(scale, 2)).tolist()],
                'outline': _scaled(polygons_of(mask.numpy(), pixels, 1.0), scale),
                'label': label,
                'color': None,
                'on': True,
            }
            for (box, pixels, mask), label in zip(boxes, labels_of(found), strict=True)
        ]
        bits = 16 if self._photo(path, name).pixels.dtype == np.uint16 else 8
        return {'size': list(size), 'bits': bits, 'objects': objects}

    def gray(self, path: str, name: str, full: bool) -> bytes:
        """The photo without colour, as PNG, at the preview's size or its own, in 8 bits."""
        photo = self._photo(path, name) if full else self._preview(path, name)[0]
        return _png(colorize_pixels(photo.rgb8, np.zeros((2, 1, 1), np.float32), upsampling='bilinear'))

    def colorize(self, path: str, name: str, entry: Mapping[str, Any], full: bool) -> bytes:
        """The photo in colour, as PNG, at the preview's size or its own, in 8 bits."""
        if full:
            return _png(Photo(self._finished(path, name, entry).pixels).rgb8)
        preview, size = self._preview(path, name)
        edit = _of_size(entry, size)
        sample = self._sample(preview, edit, path, name, entry)
        return _png(self.predictor.render(preview, sample, edit.colour(ColourOptions())))

    def map(self, path: str, name: str) -> bytes:
        """The map that colours follow if an edit has none, an indexed PNG of the preview's size.

        Raises:
            ValueError: the networks take no map.
        """
        if not self._takes_maps:
            raise ValueError(f'{type(self.predictor.model).__name__} takes no map')
        preview, _ = self._preview(path, name)
        sample = self._sample(preview, Edit(objects=()), path, name, {'objects': []})
        return encode_map(resize_map(sample.pred_map.numpy(), preview.size))

    def result(self, path: str, name: str, entry: Mapping[str, Any], suffix: str) -> bytes:
        """The file that the command line writes for the same photo and edit."""
        return self.marker.encode(self._finished(path, name, entry), suffix, file=Path(path))

    def caption(self, path: str, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Which words of an edit's caption are used, and for which of its objects.

        Returns:
            `words`, {number of the object in the edit: text}; `not_understood`, `unknown` and `plain`, see `Steering`.
        """
        preview, size = self._preview(path, name)
        edit = _of_size(entry, size)
        sample = edit.pack(self.predictor, preview, None, name)['data_samples']
        steering = sample.get('steering')
        numbers = [number for number, each in enumerate(edit.objects or ()) if each.on]
        words = {} if steering is None else {numbers[own]: text for own, text in steering.words.items()}
        told = {'not_understood': [], 'unknown': [], 'plain': []} if steering is None else steering.record
        return {'words': words, **{key: told[key] for key in ('not_understood', 'unknown', 'plain')}}

    def suggest(self, path: str, name: str, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The likely colours of an object, an edit's only one: `color` as #rrggbb, `ab` and `share`."""
        return self._suggested.get(_key(path, entry), lambda: self._suggest(path, name, entry))

    def _suggest(self, path: str, name: str, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
        preview, size = self._preview(path, name)
        instances = _of_size(entry, size).instances(preview.size)
        if len(instances) != 1:
            raise ValueError(f'colours are suggested for one object, but got {len(instances)}')
        suggestions = self.predictor.suggest_colors(
            preview, instances.boxes[0].tolist(), instances.whole_mask(0), _SUGGESTIONS
        )
        return [
            {'color': _hex(each.rgb), 'ab': _rounded(each.ab), 'share': round(each.share, 3)} for each in suggestions
        ]

    def outline(self, path: str, name: str, entry: Mapping[str, Any]) -> list[list[list[float]]]:
        """The outline of what is visible in the box of an edit's only object, as polygons of [x, y] in pixels."""
        preview, size = self._preview(path, name)
        instances = _of_size(entry, size).instances(preview.size)
        if len(instances) != 1:
            raise ValueError(f'an outline is searched for one object, but got {len(instances)}')
        found = outlined(preview.rgb8, replace(instances, masks=None))
        assert found.masks is not None
        polygons = polygons_of(found.masks[0].numpy(), found.in_pixels()[0].tolist(), 1.0)
        return _scaled(polygons, _scale(preview, size))

    def variants(self, path: str, name: str, entry: Mapping[str, Any], count: int, seed: int) -> list[list[Any]]:
        """Other likely colours: `count` lists with [a, b] for each object of an edit, None for those switched off."""
        if not 1 <= count <= _MOST_VARIANTS:
            raise ValueError(f'count must lie in 1..{_MOST_VARIANTS}, but got {count}')
        preview, size = self._preview(path, name)
        edit = _of_size(entry, size)
        instances = edit.instances(preview.size)
        if not len(instances):
            return [[None] * len(edit.objects or ()) for _ in range(count)]
        found = []
        for prediction in self.predictor.variants(preview, count, seed, instances):
            own = iter(prediction.record['hints'])
            found.append([next(own)['ab'] if each.on else None for each in edit.objects or ()])
        return found

    def color_file(self, path: str, name: str, entry: Mapping[str, Any], suffix: str) -> bytes:
        """One photo in, one picture out; nothing is kept."""
        photo = decode_photo(Path(path).read_bytes(), name, self.predictor.input.max_pixels)
        return self.marker.encode(self._predicted(photo, name, entry), suffix, file=Path(path))

    def _finished(self, path: str, name: str, entry: Mapping[str, Any]) -> Prediction:
        return self._predicted(self._photo(path, name), name, entry)

    def _predicted(self, photo: Photo, name: str, entry: Mapping[str, Any]) -> Prediction:
        edit = Edit.parse(entry)
        found = self.predictor.find([photo], [name])[0] if self._finds_objects(edit) else None
        data = edit.pack(self.predictor, photo, found, name)
        with self.predictor.decoding(edit.preset):
            (sample,) = self.predictor.color([data])
        return self.predictor.finish(photo, sample, edit.colour(ColourOptions()))

    def _finds_objects(self, edit: Edit) -> bool:
        """Whether the detector finds a photo's objects, because they matter and the edit does not list them."""
        return edit.objects is None and (self.predictor.detects or self.predictor.steers(edit.caption))

    def _objects(self, preview: Photo, path: str, name: str) -> Instances:
        """What the detector finds in a preview, with masks; cached."""

        def find() -> Instances:
            return outlined(preview.rgb8, self.predictor.find([preview], [name])[0])

        return self._found.get(path, find)

    def _sample(self, preview: Photo, edit: Edit, path: str, name: str, entry: Mapping[str, Any]) -> ColorizationSample:
        """The networks' output for a preview; cached, because the colours of objects do not change it."""
        found = self._objects(preview, path, name) if self._finds_objects(edit) else None
        data = edit.pack(self.predictor, preview, found, name)
        hints = data['data_samples'].used_hints

        def color() -> ColorizationSample:
            with self.predictor.decoding(edit.preset):
                return self.predictor.color([data])[0]

        seen = {key: value for key, value in entry.items() if key not in _AFTER_NETWORKS}
        if edit.objects is not None:
            seen['objects'] = [{**each, 'color': None} for each in seen['objects'] if each.get('on', True)]
        kept = self._samples.get(_key(path, seen), color)
        sample = kept.clone()
        sample.set_metainfo({'used_hints': hints})
        return sample

    def _photo(self, path: str, name: str) -> Photo:
        limit = self.predictor.input.max_pixels
        return self._photos.get(path, lambda: decode_photo(Path(path).read_bytes(), name, limit))

    def _preview(self, path: str, name: str) -> tuple[Photo, Size]:
        """A photo reduced to the preview's size, and the size (height, width) of the original."""

        def shrink() -> tuple[Photo, Size]:
            photo = self._photo(path, name)
            return Photo.from_array(_shrunk(photo.rgb8, self.preview_pixels)), photo.size

        return self._previews.get(path, shrink)


def _key(path: str, entry: Mapping[str, Any]) -> Hashable:
    """The cache key of a photo and an edit: a digest, because the map of an edit may have megabytes."""
    return path, sha256(json.dumps(entry, sort_keys=True).encode()).digest()


def _of_size(entry: Mapping[str, Any], size: Size) -> Edit:
    """Parses an edit; without a `size` its coordinates refer to a photo of this size."""
    edit = Edit.parse(entry)
    return edit if edit.size is not None else replace(edit, size=size)


def _shrunk(image: np.ndarray, pixels: int) -> np.ndarray:
    """A photo (H, W, 3) reduced to about this many pixels, or unchanged if it has fewer."""
    scale = math.sqrt(pixels / (image.shape[0] * image.shape[1]))
    if scale >= 1:
        return image
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _png(pixels: np.ndarray) -> bytes:
    """The PNG of a picture (H, W, 3) uint8, compressed for speed rather than size."""
    return cv2.imencode('.png', pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _scale(preview: Photo, size: Size) -> np.ndarray:
    return np.array([size[1] / preview.size[1], size[0] / preview.size[0]])


def _scaled(polygons: Sequence[Sequence[Sequence[float]]], scale: np.ndarray) -> list[list[list[float]]]:
    return [[_rounded(corner * scale) for corner in np.array(polygon)] for polygon in polygons]


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 1) for value in values]


def _hex(rgb: Sequence[int]) -> str:
    return '#' + bytes(rgb).hex()
