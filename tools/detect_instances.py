"""Finds the instances of many photos and writes them as one COCO file.

    python tools/detect_instances.py DETECTOR PHOTO|FOLDER|COCO.json ... --out instances.json

DETECTOR is what the demo's --detector takes (auto, embedded, opencv, mmdet, FILE.onnx, an mmdet CONFIG[:CHECKPOINT]) or
a config of this project with a `detector`. A run that was stopped or killed goes on when the command is repeated, also
with another number of processes (tools/dist_detect.sh).
"""

import argparse
import sys
from pathlib import Path

from insta_colorization.utils.cli import Command, Parser, add_options, add_selection, number
from insta_colorization.utils.options import InputOptions, NetworkOptions


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        'detector', help='auto, embedded, opencv, mmdet, FILE.onnx, mmdet CONFIG[:CHECKPOINT], or our config'
    )
    parser.add_argument('images', nargs='+', help='photos, folders, or one COCO .json')
    parser.add_argument('--out', type=Path, required=True, help='.json file to write')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing file')
    parser.add_argument('--results', action='store_true', help="write COCO results with the ids of the input's .json")
    parser.add_argument('--data-root', type=Path, help='folder of the photos of a .json; default: its own')
    parser.add_argument('--recursive', action='store_true', help='search sub-folders')
    add_selection(parser)
    parser.add_argument(
        '--batch-size', type=number(int, 1), default=1, help='photos that go through the detector at once'
    )
    add_options(parser, InputOptions)
    add_options(parser, NetworkOptions, only=('device',))
    parser.add_argument('--launcher', choices=('none', 'pytorch'), default='none', help='set by dist_detect.sh')


def run(args: argparse.Namespace) -> int:
    """Detects; returns the exit status, 1 with photos that failed."""
    from insta_colorization.apis.parallel_detection import detect_all

    return 1 if detect_all(args) else 0


main = Command(
    __doc__,
    arguments,
    run,
    'stopped; repeat the command to go on',
    imports=('insta_colorization.apis.parallel_detection',),
)

if __name__ == '__main__':
    sys.exit(main())
