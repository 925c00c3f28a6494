"""Measures what detectors find of true boxes, beside each other.

    python tools/analysis_tools/evaluate_detectors.py TRUTH.json PHOTOS DETECTOR [DETECTOR ...]

DETECTOR is what the demo's --detector takes. A detection hits a true box at an IoU of 0.5, whatever its class. Recall
is that of true boxes of more than 96 x 96 pixels, precision that of all detections; labels are those of the hits on
large boxes, and a person counts as found where the box is called a person. Crowds do not count. On flat and on noisy
pictures there is nothing to find. Times are of one photo after the other, its reading not counted.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from insta_colorization.utils.cli import Command, Parser, add_options, number
from insta_colorization.utils.options import NetworkOptions

if TYPE_CHECKING:
    import numpy as np

    from insta_colorization.detectors import InstanceDetector
    from insta_colorization.structures import Instances

_SIZES = ((480, 640), (256, 256), (640, 427))


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('truth', type=Path, help='COCO .json with the true boxes')
    parser.add_argument('photos', type=Path, help='folder of its photos')
    parser.add_argument('detectors', nargs='+', help='auto, embedded, opencv, mmdet, FILE.onnx or mmdet CONFIG')
    text = "minimum score; default: each detector's own"
    parser.add_argument('--score-thr', type=number(float, 0, 1), help=text)
    parser.add_argument('--top-k', type=number(int, 1), default=8, help='maximum number per photo, the best by score')
    add_options(parser, NetworkOptions, only=('device',))


def nothing_to_find() -> 'Iterator[np.ndarray]':
    """Pictures without an object, (H, W, 3) uint8: flat ones, ramps, and noise of several grains."""
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    for height, width in _SIZES:
        yield from (np.full((height, width, 3), value, np.uint8) for value in (0, 64, 128, 192, 255))
        ramp = np.linspace(0, 255, width).astype(np.uint8)[None, :, None]
        yield np.broadcast_to(ramp, (height, width, 3)).copy()
        for grain in (1, 4, 16):
            size = -(-height // grain), -(-width // grain)
            noise = random.integers(0, 256, size, dtype=np.uint8)
            large = cv2.resize(noise, (size[1] * grain, size[0] * grain), interpolation=cv2.INTER_NEAREST)
            yield np.repeat(large[:height, :width, None], 3, axis=2)


def measure(detector: 'InstanceDetector', args: argparse.Namespace) -> dict[str, float]:
    """{name: figure} of one detector."""
    from insta_colorization.detectors.selection import select
    from insta_colorization.evaluation.detections import DetectionCounts
    from insta_colorization.fileio.boxes import open_boxes, read_coco
    from insta_colorization.imaging.photo import load_rgb

    def find(photo: 'np.ndarray', path: Path | None = None) -> 'tuple[Instances, float]':
        begun = perf_counter()
        (found,) = detector.detect([photo], None if path is None else [str(path)])
        return select(found, detector.score_thr, top_k=args.top_k), perf_counter() - begun

    truth, counts, times = open_boxes(args.truth), DetectionCounts(), []
    for image in read_coco(args.truth, args.photos)['images']:
        path = args.photos / image['file_name']
        photo = load_rgb(path)
        found, seconds = find(photo, path)
        counts.add(found, truth.instances_of(str(path), (photo.shape[0], photo.shape[1])))
        times.append(seconds)
    wrong = sum(len(find(picture)[0]) for picture in nothing_to_find())
    rest = {'boxes a photo': counts.detections / counts.photos, 'ms a photo': 1000 * sum(times) / len(times)}
    return {**counts.shares(), **rest, 'found in flat and noisy pictures': wrong}


def evaluate(args: argparse.Namespace) -> None:
    """Prints a table with a row for each detector.

    Raises:
        FileNotFoundError: a detector, the photos or their boxes are not there.
        ValueError: one of them cannot be used.
    """
    from insta_colorization.detectors import build_detector
    from insta_colorization.utils.device import resolve_device

    rows = {}
    for name in args.detectors:
        detector = build_detector(name, resolve_device(args.device), score_thr=args.score_thr)
        rows[f'{Path(name).stem} >= {detector.score_thr:g}'] = measure(detector, args)
        logging.getLogger('insta_colorization').info('measured %s', name)
    heads = list(next(iter(rows.values())))
    print('| detector | ' + ' | '.join(heads) + ' |')
    print('| --- ' * (len(heads) + 1) + '|')
    for name, figures in rows.items():
        print(f'| {name} | ' + ' | '.join(f'{value:.3g}' for value in figures.values()) + ' |')


main = Command(__doc__, arguments, evaluate, 'stopped')

if __name__ == '__main__':
    sys.exit(main())
