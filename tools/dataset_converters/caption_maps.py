"""Makes weak maps of stuff that few datasets label: captions say that it is there, colours say where.

    python tools/dataset_converters/caption_maps.py PHOTOS CAPTIONS.json OUT [--boxes instances.json]

CAPTIONS is {photo's path below PHOTOS: its captions}. A photo gets a class if at least two of its captions, or its only
one, have a word for it; then its pixels are those of the class's lightness, chroma and hue in the class's part of the
photo, in patches that cover at least a twentieth of it. Where two classes claim a pixel, and inside boxes, nothing is
known. Maps are grey PNG as `LoadSemanticMap` reads them, 255 for unknown; photos without any are left out, and maps
that exist are kept. Photos must be colour photos: the classes are learnt from them on grey.
"""

import argparse
import io
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from insta_colorization.utils.cli import Command, Parser

if TYPE_CHECKING:
    from insta_colorization.structures import Instances

_LEAST_SHARE = 1 / 20


class Rule(NamedTuple):
    """How a class shows: words for it, and ranges of CIE L, chroma and hue in degrees, below a share of the height."""

    words: frozenset[str]
    lightness: tuple[float, float] = (0, 100)
    chroma: tuple[float, float] = (0, 200)
    hue: tuple[float, float] = (0, 360)
    below: float = 0.35


RULES = {
    'grass': Rule(frozenset({'grass', 'grassy', 'lawn', 'meadow', 'field'}), (15, 90), (12, 200), (90, 150)),
    'snow': Rule(frozenset({'snow', 'snowy', 'ski', 'skiing', 'skier', 'snowboarder'}), (65, 100), (0, 14), below=0.45),
    'water': Rule(
        frozenset({'water', 'ocean', 'sea', 'lake', 'river', 'pool', 'wave', 'waves', 'surf'}),
        (10, 85),
        (5, 200),
        (170, 290),
    ),
    'ground': Rule(frozenset({'dirt', 'sand', 'sandy', 'beach', 'desert'}), (30, 95), (6, 45), (45, 95), below=0.45),
}


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('photos', type=Path, help='folder of the photos')
    parser.add_argument('captions', type=Path, help='JSON of {photo: [captions]}')
    parser.add_argument('dst', type=Path, help='folder to write to')
    parser.add_argument('--boxes', type=Path, help='COCO JSON of boxes of objects, inside which nothing is known')


def read_captions(path: Path) -> dict[str, list[str]]:
    """{photo: its captions}.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file.
    """
    from insta_colorization.fileio.entries import read_json

    content = read_json(path, 'file of captions')
    if not isinstance(content, dict):
        raise ValueError(f'{path} must have captions by photo, but is a {type(content).__name__}')
    for photo, said in content.items():
        if not isinstance(said, list) or not said or not all(isinstance(text, str) for text in said):
            raise ValueError(f'{path} must have a list of captions for {photo}, but has {said!r:.80}')
    return content


def named(captions: Sequence[str]) -> list[str]:
    """The classes that captions of one photo have words for."""
    words = [set(re.findall(r'[a-z]+', caption.lower())) for caption in captions]
    return [name for name, rule in RULES.items() if sum(bool(rule.words & own) for own in words) >= min(2, len(words))]


def label(image: np.ndarray, classes: Iterable[str], boxes: Iterable[Sequence[float]] = ()) -> np.ndarray:
    """The weak map of a photo.

    Args:
        image: (H, W, 3) uint8 RGB.
        classes: what is there, of `RULES`.
        boxes: xyxy in pixels.

    Returns:
        (H, W) uint8, 255 for unknown.
    """
    import cv2

    from insta_colorization.structures import SEMANTIC_CLASSES, UNKNOWN

    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lightness, chroma = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    height = (np.arange(len(image))[:, None] + 0.5) / len(image)
    ids, claims = np.full(image.shape[:2], UNKNOWN, np.uint8), np.zeros(image.shape[:2], int)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    for name in classes:
        rule = RULES[name]
        fits = height >= rule.below
        for values, (low, high) in ((lightness, rule.lightness), (chroma, rule.chroma), (hue, rule.hue)):
            fits = fits & (values >= low) & (values <= high)
        patches = cv2.morphologyEx(fits.astype(np.uint8), cv2.MORPH_CLOSE, disc)
        patches = cv2.morphologyEx(patches, cv2.MORPH_OPEN, disc)
        _, numbers, stats, _ = cv2.connectedComponentsWithStats(patches, connectivity=4)
        large = stats[:, cv2.CC_STAT_AREA] >= _LEAST_SHARE * ids.size
        large[0] = False  # what is in no patch
        own = large[numbers]
        ids[own] = SEMANTIC_CLASSES.index(name)
        claims += own
    ids[claims > 1] = UNKNOWN
    for left, top, right, bottom in boxes:
        ids[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = UNKNOWN
    return ids


def convert(args: argparse.Namespace) -> None:
    """Writes the maps and prints how many have each class.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: the captions or the boxes cannot be used.
    """
    from PIL import Image
    from rich.progress import track

    from insta_colorization.fileio.boxes import open_boxes
    from insta_colorization.fileio.files import write_whole
    from insta_colorization.imaging.photo import load_rgb
    from insta_colorization.structures import SEMANTIC_CLASSES

    if not args.photos.is_dir():
        raise FileNotFoundError(f'there is no folder {args.photos}')
    captions, boxes = read_captions(args.captions), None if args.boxes is None else open_boxes(args.boxes)
    wanted = {photo: classes for photo, said in captions.items() if (classes := named(said))}
    counts = dict.fromkeys(RULES, 0)
    for photo, classes in track(wanted.items(), description='maps'):
        path, target = args.photos / photo, (args.dst / photo).with_suffix('.png')
        if target.is_file() or not path.is_file():
            continue
        image = load_rgb(path)
        found: Instances | None = (
            None if boxes is None else boxes.instances_of(str(path), (image.shape[0], image.shape[1]))
        )
        ids = label(image, classes, [] if found is None else found.boxes.tolist())
        there = [name for name in classes if (ids == SEMANTIC_CLASSES.index(name)).any()]
        if there:
            target.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            Image.fromarray(ids).save(buffer, 'PNG')
            write_whole(buffer.getvalue(), target)
        for name in there:
            counts[name] += 1
    print(f'{args.dst}: ' + ', '.join(f'{name} {count}' for name, count in counts.items()))


main = Command(__doc__, arguments, convert, 'stopped; repeat the command to go on')

if __name__ == '__main__':
    sys.exit(main())
