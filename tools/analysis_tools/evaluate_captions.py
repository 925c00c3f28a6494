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
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from insta_colorization.utils.cli import Command, Parser, add_options, number
from insta_colorization.utils.options import NetworkOptions

LONGEST_SIDE = 384


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('config', nargs='?', help="config, by path or name; default: the shipped weights' own")
    parser.add_argument('checkpoint', nargs='?', help='weights; default: the shipped ones')
    parser.add_argument('--img', nargs='+', required=True, help='photos in colour, folders or patterns')
    parser.add_argument('--captions', required=True, metavar='FILE', help='captions of the photos, any number of each')
    parser.add_argument('--boxes', required=True, metavar='FILE', help='COCO JSON with the segmentation of each object')
    parser.add_argument('--detector', help='finds the objects to colour; default: those of --boxes')
    parser.add_argument(
        '--max-photos', type=number(int, 1), help='how many photos with captions, the first ones; default: all'
    )
    add_options(parser, NetworkOptions, only=('device', 'decoder', 'preset'))
    parser.add_argument('--out', type=Path, help='JSON file for the figures')


def measure(predictor: Any, photo: Any, captions: Sequence[str], true: Any, found: Any) -> Iterator[dict[str, float]]:
    """The figures of each colour of a photo's captions.

    Args:
        predictor: colours it.
        photo: a `Photo`.
        captions: its captions.
        true: its objects.
        found: the objects that are coloured.
    """
    from insta_colorization.evaluation.captions import cases, following, outside

    @cache
    def picture(caption: str | None = None) -> np.ndarray:
        return predictor.predict(photo, instances=found, caption=caption).pixels

    free = outside(photo.size, true, found)
    for case in cases(captions, photo.pixels, true):
        yield following(case, photo.pixels, picture(), picture(case.caption), picture(case.swapped), free)


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
    figures: dict[str, list[float]] = defaultdict(list)
    with progress_bar() as tell:
        for done, job in enumerate(jobs, 1):
            photo = reduced(predictor.read(job.source, job.name))
            true = boxes.instances_of(job.name, photo.size)
            (found,) = predictor.find([photo], [job.name]) if args.detector else [true]
            for own in measure(predictor, photo, captions.of(job.name), true, found):
                for name, value in own.items():
                    figures[name].append(value)
            tell(done, len(jobs))
    table = {name: _summary(values) for name, values in figures.items()}
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
