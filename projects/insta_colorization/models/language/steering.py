"""From the colours that a caption gives to hints on the objects that a detector found."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from insta_colorization.fileio.hints import within_srgb
from insta_colorization.models.patch.outlines import grabcut, has_mask
from insta_colorization.structures import Hint, Instances
from insta_colorization.structures.request import Box

from .grammar import Mention, Phrase, Place, read_caption
from .nouns import PARTS, Band

# How far what surrounds the objects is moved to a colour that is said of it: nobody knows where it ends.
_SURROUNDINGS = 0.25
# How high, in widths, boxes of persons are who stand; the share of the photo's height beyond which its edge cuts off.
_STANDING, _CUT = 1.9, 0.98


@dataclass(frozen=True, eq=False)
class Steering:
    """What a caption wants of a photo.

    Attributes:
        hints: the colours in their places.
        words: {number of an object: the words that are about it}.
        record: `text`; `used`, for each colour its `words`, the names of the colours `color`, the `objects` by number,
            [] for the surroundings, and the `ab` that they get from left to right; `not_understood`, `words` with a
            `reason`; `plain`, the nouns without a colour; `unknown` words. As JSON takes it.
    """

    hints: tuple[Hint, ...]
    words: dict[int, str]
    record: dict[str, Any]


def steer(caption: str, pixels: np.ndarray, instances: Instances) -> Steering:
    """Finds the colours of a caption and the objects that they are about.

    Args:
        caption: a text, see `read_caption`.
        pixels: the photo, (H, W, 3) sRGB, uint8 or uint16.
        instances: its objects with their labels; the outline of one without a mask is searched in its box.
    """
    reading = read_caption(caption, instances.classes)
    matcher = _Matcher(instances, reading.classes)
    used: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    words: dict[int, str] = {}
    hints: list[Hint] = []
    image = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    for phrase in reading.phrases:
        found = matcher.match(phrase)
        if isinstance(found, str):
            refused.append({'words': phrase.words, 'reason': found})
            continue
        places = list(_places(phrase, found, image, instances))
        entry: dict[str, Any] = {'words': phrase.words, 'color': list(phrase.colors)}
        if not places:
            refused.append({'words': phrase.words, 'reason': 'the photo does not show that part of it'})
            continue
        fitted = within_srgb(places, pixels)
        hints += fitted
        entry |= {'ab': [[round(value, 2) for value in hint.ab] for hint in fitted], 'objects': found}
        words |= dict.fromkeys(found, phrase.words)
        used.append(entry)
    # Those of the surroundings lie below.
    hints.sort(key=lambda hint: hint.strict or 0)
    record = {
        'text': caption,
        'used': used,
        'not_understood': refused,
        'plain': list(reading.plain),
        'unknown': list(reading.unknown),
    }
    return Steering(tuple(hints), words, record)


class _Matcher:
    """Gives the objects of a photo to the nouns of its caption, which stand for certain classes."""

    def __init__(self, instances: Instances, said: Iterable[str]) -> None:
        self._said = set(said)
        boxes = instances.boxes.cpu().numpy()
        labels = [] if instances.labels is None else instances.labels.tolist()
        self.names = [instances.classes[label] if label >= 0 else '' for label in labels]
        self.areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        # Of two persons whom a detector sees it is less sure of the wrong one.
        self.weights = self.areas * instances.scores.cpu().numpy()
        self.centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        self.height, self.width = instances.image_size[0].tolist()
        self._of: dict[int, list[int]] = {}
        self._colors: dict[tuple[int, str | None], Phrase] = {}
        self._named: set[int] = set()

    def match(self, phrase: Phrase) -> list[int] | str:
        """The numbers of the objects of a phrase, [] for the surroundings, or why there is none."""
        if phrase.reason is not None or phrase.mention is None:
            return phrase.reason or ''
        mention = phrase.mention
        if mention.thing.band is not None:
            return []
        if not mention.thing.classes:
            return f'no detector finds a {mention.noun}'
        found = self._objects(mention.owner if mention.owner is not None else mention, phrase)
        if not found:
            kind = 'person' if mention.thing.part is not None else mention.noun
            return f'the photo has no {kind}' if not self._candidates(mention) else f'the photo has no other {kind}'
        for number in found:
            before = self._colors.setdefault((number, mention.thing.part), phrase)
            if before is not phrase and before.ab != phrase.ab:
                return f'it contradicts {before.words!r}'
        return found

    def _candidates(self, mention: Mention) -> list[int]:
        wanted = {mention.noun, *mention.thing.classes}
        found = [number for number, name in enumerate(self.names) if name in wanted]
        alike = set(mention.thing.alike) - self._said
        return found or [number for number, name in enumerate(self.names) if name in alike]

    def _objects(self, mention: Mention, phrase: Phrase) -> list[int]:
        """The objects of a noun; the same ones whenever it is asked about again."""
        if mention.start not in self._of:
            self._of[mention.start] = self._choose(mention, phrase)
            self._named.update(self._of[mention.start])
        return self._of[mention.start]

    def _choose(self, mention: Mention, phrase: Phrase) -> list[int]:
        candidates = self._candidates(mention)
        if mention.place is not None:
            return self._at(mention.place, candidates, mention)
        if phrase.follows and mention.definite and (again := [n for n in candidates if n in self._named]):
            return again if mention.many else again[-1:]
        free = sorted((n for n in candidates if n not in self._named), key=lambda number: -self.weights[number])
        if mention.many:
            return sorted(free[: mention.count])
        if not free and mention.definite:  # 'the red bus ... the blue bus' of a single one: the contradiction is told
            return candidates[:1]
        return free[:1]

    def _at(self, place: Place, candidates: list[int], mention: Mention) -> list[int]:
        keys = {
            'left': self.centres[:, 0],
            'right': -self.centres[:, 0],
            'middle': abs(self.centres[:, 0] - self.width / 2),
            'top': self.centres[:, 1],
            'bottom': -self.centres[:, 1],
            'biggest': -self.areas,
            'smallest': self.areas,
        }
        counted = {'first': 0, 'second': 1, 'third': 2, 'last': -1}
        ordered = sorted(candidates, key=lambda number: keys.get(place, keys['left'])[number])
        if place in counted:
            start = counted[place] % len(ordered) if ordered else 0
            return ordered[start : start + 1]
        return ordered[: (mention.count or len(ordered)) if mention.many and place not in keys else mention.count or 1]


def _places(phrase: Phrase, found: Sequence[int], image: np.ndarray, instances: Instances) -> Iterator[Hint]:
    """Where a phrase puts its colour."""
    assert phrase.mention is not None
    thing, boxes = phrase.mention.thing, instances.in_pixels().tolist()
    if thing.band is not None:
        height, width = image.shape[:2]
        top, bottom = (round(share * height) for share in thing.band)
        free = np.ones((height, width), bool)
        for x0, y0, x1, y1 in boxes:
            free[y0:y1, x0:x1] = False
        if free[top:bottom].any():
            yield Hint(phrase.ab, (0, top, width, bottom), free[top:bottom], strict=_SURROUNDINGS)
        return
    order = sorted(found, key=lambda number: boxes[number][0] + boxes[number][2])
    for number, ab in zip(order, phrase.colors_of(len(order)), strict=True):
        box = tuple(boxes[number])
        mask = None if instances.masks is None else instances.masks[number].cpu()
        if mask is None or not has_mask(mask):
            mask = grabcut(image, box)
        outline = ellipse(box) if mask is None or not mask.any() else mask.numpy()
        band = (0.0, 1.0) if thing.part is None else _band(thing.part, box, image.shape[0])
        if band is not None:
            x0, y0, x1, y1 = box
            top, bottom = (round(share * (y1 - y0)) for share in band)
            bottom = max(bottom, top + 1)
            part = outline[top:bottom]
            yield Hint(ab, (x0, y0 + top, x1, y0 + bottom), part if part.any() else None, strict=1.0)


def _band(part: str, box: Box, height: int) -> Band | None:
    standing, crouching, cut = PARTS[part]
    if box[3] - box[1] >= _STANDING * (box[2] - box[0]):
        return standing
    return cut if box[3] > _CUT * height else crouching


def ellipse(box: Box) -> np.ndarray:
    """(h, w) bool, the ellipse in a box."""
    across, down = (np.linspace(-1, 1, count + 2)[1:-1] for count in (box[2] - box[0], box[3] - box[1]))
    return across**2 + down[:, None] ** 2 <= 1
