"""Measures whether pictures follow captions.

    python tools/analysis_tools/evaluate_captions.py [CONFIG] [CHECKPOINT] --img PHOTOS... --captions FILE
        --boxes COCO.json [--detector embedded] [--out FIGURES.json]

The photos' own colours are the truth. Of each caption those colours count whose noun has a true box; the place of
an object is its true mask, of a garment the part of it that `steer` takes. Pictures are made with the true boxes and
masks, or with what a detector finds, at most 384 pixels wide and high, and measured as 8-bit RGB. What is printed:

- `before`, `after`: Lab units from the mean colour of an object to the named one, without and with the caption;
- `swapped`: share of the colours that, replaced by another one, move the object's mean nearer to that one;
- `outside`: Lab units by which the caption moves the mean of what lies outside all boxes;
- `plain`, `told`: PSNR of the photo in dB without and with the caption;
- `spread`: how much the object's colours vary with the swapped caption, as a share of what they vary without.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from insta_colorization.utils.cli import Command, Parser, add_options, number
from insta_colorization.utils.options import NetworkOptions

LONGEST_SIDE = 384
# Another colour is one that is this far from the named one, in Lab units.
OTHER = 25.0
OTHERS = ('red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink')
LEAST_AREA = 100


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('config', nargs='?', help="config, by path or name; default: the shipped weights' own")
    parser.add_argument('checkpoint', nargs='?', help='weights; default: the shipped ones')
    parser.add_argument('--img', nargs='+', required=True, help='photos in colour, folders or patterns')
    parser.add_argument('--captions', required=True, metavar='FILE', help='captions of the photos, any number of each')
    parser.add_argument('--boxes', required=True, metavar='FILE', help='COCO JSON with the segmentation of each object')
    parser.add_argument('--detector', help='finds the objects to colour; default: those of --boxes')
    parser.add_argument('--max-photos', type=number(int, 1), help='the first so many with captions; default: all')
    add_options(parser, NetworkOptions, only=('device', 'decoder', 'preset'))
    parser.add_argument('--out', type=Path, help='JSON file for the figures')


def swapped(caption: str, names: Sequence[str], other: str) -> str:
    """A caption with another colour in the place of some."""
    return re.sub(rf'\b({"|".join(map(re.escape, names))})\b', other, caption.lower())


def lab_of(picture: np.ndarray) -> np.ndarray:
    """(3, H, W) CIELAB of a picture (H, W, 3) uint8."""
    import torch

    from insta_colorization.colorspace import rgb_to_lab

    return rgb_to_lab(torch.from_numpy(picture).movedim(-1, 0).float() / 255).numpy()


def area(hint: Any, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, the place of a hint."""
    inside = np.zeros(size, bool)
    x0, y0, x1, y1 = hint.box
    inside[y0:y1, x0:x1] = True if hint.mask is None else hint.mask
    return inside


def outside(size: tuple[int, int], *groups: Any) -> np.ndarray:
    """(H, W) bool, what no box of some groups of instances covers."""
    free = np.ones(size, bool)
    for instances in groups:
        for x0, y0, x1, y1 in instances.in_pixels().tolist():
            free[y0:y1, x0:x1] = False
    return free


def distance(lab: np.ndarray, inside: np.ndarray, ab: Sequence[float]) -> float:
    """Lab units from the mean colour of a place to another one."""
    return float(np.linalg.norm(lab[1:, inside].mean(axis=1) - ab))


def measure(predictor: Any, photo: Any, captions: Sequence[str], true: Any, found: Any) -> dict[str, list[float]]:
    """The figures of one photo, a list for each.

    Args:
        predictor: colours it.
        photo: a `Photo`.
        captions: its captions.
        true: its objects.
        found: the objects that are coloured.
    """
    import torch

    from insta_colorization.evaluation.metrics import PSNR
    from insta_colorization.fileio.hints import within_srgb
    from insta_colorization.models.language import steer
    from insta_colorization.models.language.colors import color_of
    from insta_colorization.structures import Hint

    names = ('before', 'after', 'swapped', 'outside', 'plain', 'told', 'spread')
    figures: dict[str, list[float]] = {name: [] for name in names}
    free = outside(photo.size, true, found)
    truth = torch.from_numpy(photo.rgb8).movedim(-1, 0)

    def picture(caption: str | None = None) -> np.ndarray:
        return predictor.predict(photo, instances=found, caption=caption).pixels

    def psnr(pixels: np.ndarray) -> float:
        return PSNR().measure(truth, torch.from_numpy(pixels).movedim(-1, 0))['PSNR']

    plain = picture()
    before = lab_of(plain)
    for turn, caption in enumerate(captions):
        steering = steer(caption, photo.pixels, true)
        used = [entry for entry in steering.record['used'] if entry['objects']]
        objects = iter([hint for hint in steering.hints if hint.strict == 1])
        places = [[next(objects) for _ in entry['ab']] for entry in used]
        counted = [
            (entry, inside, hints)
            for entry, hints in zip(used, places, strict=True)
            if (inside := np.any([area(hint, photo.size) for hint in hints], axis=0)).sum() >= LEAST_AREA
        ]
        if not counted:
            continue
        told = picture(caption)
        after = lab_of(told)
        figures['plain'].append(psnr(plain))
        figures['told'].append(psnr(told))
        if free.any():
            figures['outside'].append(float(np.linalg.norm((after - before)[1:, free].mean(axis=1))))
        for entry, inside, hints in counted:
            named = np.mean([hint.ab for hint in hints], axis=0)
            known = {name: color_of(name) or (0.0, 0.0) for name in OTHERS}
            others = {name: ab for name, ab in known.items() if np.linalg.norm(np.subtract(ab, named)) > OTHER}
            other = list(others)[turn % len(others)]
            (wished, *_) = within_srgb([Hint(others[other], hints[0].box, hints[0].mask)], photo.pixels)
            changed = lab_of(picture(swapped(caption, entry['color'], other)))
            figures['before'].append(distance(before, inside, named))
            figures['after'].append(distance(after, inside, named))
            figures['swapped'].append(distance(changed, inside, wished.ab) < distance(changed, inside, named))
            spreads = [np.sqrt(lab[1:, inside].var(axis=1).sum()) for lab in (changed, before)]
            figures['spread'].append(float(spreads[0] / max(spreads[1], 1e-6)))
    return figures


def run(args: argparse.Namespace) -> None:
    """Measures, prints and writes."""
    from insta_colorization.apis.jobs import plan
    from insta_colorization.apis.predictor import Predictor
    from insta_colorization.fileio.boxes import open_boxes
    from insta_colorization.fileio.captions import CaptionFile
    from insta_colorization.fileio.files import write_whole
    from insta_colorization.utils.progress import progress_bar

    predictor = Predictor(
        args.config,
        args.checkpoint,
        args.device,
        args.detector or 'none',
        decoder=args.decoder,
        preset=args.preset,
        precision='fp32',
    )
    captions, boxes = CaptionFile(args.captions), open_boxes(args.boxes, masks=True)
    jobs = [job for job in plan(args.img) if captions.of(job.name)][: args.max_photos]
    if not jobs:
        raise ValueError(f'{args.captions} has captions for none of the photos')
    boxes.matched([job.name for job in jobs])
    figures: dict[str, list[float]] = {}
    with progress_bar() as tell:
        for done, job in enumerate(jobs, 1):
            photo = reduced(predictor.read(job.source, job.name))
            true = boxes.instances_of(job.name, photo.size)
            (found,) = predictor.find([photo], [job.name]) if args.detector else [true]
            own = measure(predictor, photo, captions.of(job.name), true, found)
            figures = {name: figures.get(name, []) + values for name, values in own.items()}
            tell(done, len(jobs))
    table = {name: _summary(values) for name, values in figures.items() if values}
    if not table:
        raise ValueError(f'no caption of the {len(jobs)} photos gives a colour to an object that has a true box')
    print(f'{"":10}{"median":>9}{"mean":>9}{"count":>9}')
    for name, values in table.items():
        print(f'{name:10}{values["median"]:9.2f}{values["mean"]:9.2f}{values["count"]:9d}')
    if args.out is not None:
        write_whole(f'{json.dumps(table, indent=1)}\n'.encode(), args.out)
        print(f'wrote {args.out}')


def reduced(photo: Any) -> Any:
    """A photo of 8 bits whose sides are at most `LONGEST_SIDE`."""
    import cv2

    from insta_colorization.imaging.photo import Photo

    scale = min(1.0, LONGEST_SIDE / max(photo.size))
    size = [max(1, round(side * scale)) for side in photo.size[::-1]]
    return Photo(cv2.resize(photo.rgb8, size, interpolation=cv2.INTER_AREA))


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {
        'median': float(np.median(values)),
        'mean': float(np.mean(values)),
        'least': float(np.min(values)),
        'most': float(np.max(values)),
        'count': len(values),
    }


main = Command(__doc__, arguments, run, 'stopped; nothing was written')

if __name__ == '__main__':
    sys.exit(main())
