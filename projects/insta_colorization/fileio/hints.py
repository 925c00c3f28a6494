"""Colours that a user wishes for places of photos, as JSON has them, and what they become on a photo.

A wish is `{"point": [x, y], "color": "red"}`; in the place of `point` may be `box`, [x0, y0, x1, y1], or `object`, the
number of an instance. A file is a list of wishes for the one photo of a run, or {photo: list}; docs/inference.md has it
in full.
"""

import difflib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ImageColor

from insta_colorization.colorspace import in_srgb, pixel_lightness, rgb_to_lab
from insta_colorization.structures import Hint, Instances

from .entries import PhotoEntries, read_json

# {where a wish is about: how many numbers say so}
_PLACES = {'point': 2, 'box': 4, 'object': 1}


@dataclass(frozen=True)
class Wish:
    """A colour for a place, before anybody has opened the photo.

    Attributes:
        place: 'point', 'box' or 'object'.
        where: x and y; or x0, y0, x1, y1, the end exclusive; or the object's number, from 0.
        ab: a and b of CIELAB.
        color: the colour as the user says it.
    """

    place: str
    where: tuple[float, ...]
    ab: tuple[float, float]
    color: str

    def __str__(self) -> str:
        numbers = ', '.join(f'{value:g}' for value in self.where)
        return f'{self.place} {numbers if len(self.where) == 1 else f"({numbers})"}'

    @classmethod
    def parse(cls, entry: Any) -> 'Wish':
        """Makes one of what JSON has.

        Raises:
            ValueError: the entry does not name one place and one colour, or cannot be used.
        """
        if not isinstance(entry, Mapping):
            raise ValueError(f'a hint must be an object such as {{"object": 0, "color": "red"}}, but got {entry!r}')
        places = [name for name in _PLACES if name in entry]
        if len(places) != 1 or set(entry) != {*places, 'color'}:
            raise ValueError(f'a hint must have `color` and one of {", ".join(_PLACES)}, but has {", ".join(entry)}')
        (place,) = places
        where = entry[place] if isinstance(entry[place], list | tuple) else [entry[place]]
        if len(where) != _PLACES[place] or not all(map(_is_number, where)):
            what = 'a number' if place == 'object' else f'{_PLACES[place]} numbers'
            raise ValueError(f'`{place}` must be {what}, but got {entry[place]!r}')
        inverted = place == 'box' and not (where[0] < where[2] and where[1] < where[3])
        if min(where[:2]) < 0 or inverted or (place == 'object' and where[0] != int(where[0])):
            what = {'object': 'a whole number from 0', 'box': 'an area inside the photo'}.get(place, 'inside the photo')
            raise ValueError(f'`{place}` must be {what}, but got {entry[place]!r}')
        return cls(place, tuple(where), parse_color(entry['color']), str(entry['color']))


def parse_color(color: Any) -> tuple[float, float]:
    """a and b of CIELAB of a colour.

    Args:
        color: a CSS name such as 'dark red', '#rrggbb' or another form of CSS, or [a, b].

    Raises:
        ValueError: it is none of these; the names that come close are in the message.
    """
    if isinstance(color, list | tuple):
        if len(color) != 2 or not all(map(_is_number, color)):
            raise ValueError(f'a colour given as numbers must be [a, b], but got {color!r}')
        return float(color[0]), float(color[1])
    name = ''.join(str(color).lower().split())
    try:
        rgb = ImageColor.getrgb(name)[:3]
    except ValueError:
        close = difflib.get_close_matches(name, ImageColor.colormap, n=3, cutoff=0.5)
        hint = f'close names are {", ".join(close)}' if close else 'names are those of CSS, such as red or darkgreen'
        raise ValueError(f"there is no colour {color!r}; {hint}; '#rrggbb' and [a, b] are colours too") from None
    if len(set(rgb)) == 1:  # rounding would leave a trace of colour
        return 0.0, 0.0
    _, a, b = rgb_to_lab(torch.tensor(rgb).view(3, 1, 1) / 255).flatten().tolist()
    return a, b


class HintFile(PhotoEntries[Wish]):
    """A JSON file of wishes.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or a wish in it cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        content = read_json(path, 'file of hints')
        lists = {None: content} if isinstance(content, list) else content
        if not isinstance(lists, Mapping) or not all(isinstance(entries, list) for entries in lists.values()):
            raise ValueError(f'{path} must have a list of hints or, by the name of each photo, such lists')
        wishes = {
            name: parse_wishes(entries, str(path) if name is None else f'{path}, photo {name}')
            for name, entries in lists.items()
        }
        self._only = wishes.get(None)
        super().__init__(path, 'hints', {name: own for name, own in wishes.items() if name is not None})

    def check(self, photos: Sequence[str]) -> None:
        """Looks all photos of a run up before it begins, see `PhotoEntries.check`.

        Raises:
            ValueError: none of the photos has any, or a list without a photo's name goes with several photos.
        """
        if self._only is None:
            super().check(photos)
        elif len(photos) > 1:
            raise ValueError(
                f'{self.path} is a list of hints for one photo, but there are {len(photos)}: '
                'give each list under the name of its photo'
            )

    def of(self, photo: str) -> tuple[Wish, ...]:
        """The wishes for a photo; () if there are none."""
        return super().of(photo) if self._only is None else self._only


def parse_wishes(entries: Sequence[Any], where: str) -> tuple[Wish, ...]:
    """Makes wishes of a list as JSON has it.

    Args:
        entries: see `Wish.parse`.
        where: what messages call the list.

    Raises:
        ValueError: an entry cannot be used.
    """
    wishes = []
    for number, entry in enumerate(entries):
        try:
            wishes.append(Wish.parse(entry))
        except ValueError as error:
            raise ValueError(f'{where}, hint {number}: {error}') from error
    return tuple(wishes)


def names_objects(wishes: Iterable[Wish]) -> bool:
    """Whether any of them is about an object, so that the objects must be known."""
    return any(wish.place == 'object' for wish in wishes)


def place_hints(wishes: Sequence[Wish], pixels: np.ndarray, instances: Instances) -> tuple[Hint, ...]:
    """Turns wishes into hints of a photo.

    A colour that sRGB does not have at the mean lightness of its place loses chroma until it has.

    Args:
        wishes: later ones lie on top.
        pixels: the photo, (H, W, 3) sRGB, uint8 or uint16.
        instances: the photo's objects; one without a mask is its box.

    Raises:
        ValueError: a place lies outside the photo or has no area, there is no such object, or the same place has two
            colours.
    """
    if not wishes:
        return ()
    size = pixels.shape[:2]
    last: dict[tuple[str, tuple[float, ...]], Wish] = {}
    for wish in wishes:
        other = last.pop((wish.place, wish.where), wish)
        if other.ab != wish.ab:
            raise ValueError(f'hints contradict each other: {wish} shall be {other.color} and {wish.color}')
        last[wish.place, wish.where] = wish
    return within_srgb([_hint(wish, size, instances) for wish in last.values()], pixels)


def within_srgb(hints: Sequence[Hint], pixels: np.ndarray) -> tuple[Hint, ...]:
    """Hints of a photo, those whose colours sRGB does not have at the mean lightness of their places with less chroma.

    Args:
        hints: at least one.
        pixels: the photo, (H, W, 3) sRGB, uint8 or uint16.
    """
    lightness = pixel_lightness(pixels).numpy()
    lab = in_srgb([(_mean_lightness(lightness, hint), *hint.ab) for hint in hints]).tolist()
    return tuple(replace(hint, ab=(a, b)) for hint, (_, a, b) in zip(hints, lab, strict=True))


def _mean_lightness(lightness: np.ndarray, hint: Hint) -> float:
    x0, y0, x1, y1 = hint.box
    part = lightness[y0:y1, x0:x1]
    return float((part if hint.mask is None else part[hint.mask]).mean())


def _hint(wish: Wish, size: tuple[int, ...], instances: Instances) -> Hint:
    if wish.place == 'object':
        number = int(wish.where[0])
        if number >= len(instances):
            has = f'has {len(instances)}, numbered from 0' if len(instances) else 'has none'
            raise ValueError(f'a hint is for object {number}, but the photo {has}')
        mask = None if instances.masks is None else instances.masks[number].cpu().numpy()
        x0, y0, x1, y1 = instances.in_pixels()[number].tolist()
        # A mask that fills its box stands for one that nobody knows.
        known = mask is not None and mask.any() and not mask.all()
        return Hint(wish.ab, (x0, y0, x1, y1), mask if known else None)
    height, width = size
    inside = True
    if wish.place == 'point':
        x, y = wish.where
        hint, inside = Hint.at(x, y, wish.ab), x < width and y < height
    else:
        hint = Hint(wish.ab, _outwards(wish.where))
    x0, y0, x1, y1 = hint.box
    if not inside or x0 >= width or y0 >= height:
        raise ValueError(f'the hint at {wish} lies outside the photo of width {width} and height {height}')
    return replace(hint, box=(x0, y0, min(x1, width), min(y1, height)))


def _outwards(box: Sequence[float]) -> tuple[int, int, int, int]:
    """The whole pixels that a box touches."""
    x0, y0, x1, y1 = box
    return math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
