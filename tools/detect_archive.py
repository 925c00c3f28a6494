"""Finds the objects of an archive of any size by Ray Data: a file of boxes for each photo; goes on when it is repeated.

    python tools/detect_archive.py DETECTOR SOURCE TARGET [--manifest FILE] [--address auto|local|ray://HOST:PORT]

DETECTOR is what tools/detect_instances.py takes. SOURCE and TARGET are folders or addresses of folders (s3://, gs://).
The demo's and tools/colorize_archive.py's --boxes take TARGET. See docs/archives.md.
"""

import argparse
import sys

from insta_colorization.utils.cli import (
    Command,
    Parser,
    absolute_detector,
    add_manifest,
    add_options,
    add_selection,
    chosen,
)
from insta_colorization.utils.options import ArchiveOptions, InputOptions, NetworkOptions, PaceOptions


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        'detector', help='auto, embedded, opencv, mmdet, FILE.onnx, mmdet CONFIG[:CHECKPOINT], or our config'
    )
    parser.add_argument('source', metavar='SOURCE', help='folder of the photos, or its address')
    parser.add_argument('target', metavar='TARGET', help='folder of the files of boxes, or its address')
    add_manifest(parser, 'SOURCE')
    parser.add_argument('--overwrite', action='store_true', help='write existing files again')
    add_selection(parser)
    add_options(parser, InputOptions)
    add_options(parser, NetworkOptions, only=('device',))
    add_options(parser, PaceOptions, only=('batch_size', 'workers'))
    add_options(parser, ArchiveOptions, 'machines')


def run(args: argparse.Namespace) -> int:
    """Detects and reports; returns the exit status, 1 with photos that failed."""
    from insta_colorization.apis.archive import run_archive
    from insta_colorization.apis.archive_tasks import DetectTask
    from insta_colorization.fileio.stores import Folder

    task = DetectTask(
        Folder.at(args.target),
        absolute_detector(args.detector),
        score_thr=args.score_thr,
        min_size=args.min_size,
        top_k=args.top_k,
        masks=args.masks,
        device=args.device,
        max_pixels=args.max_pixels,
        pace=PaceOptions(batch_size=args.batch_size, workers=args.workers),
        overwrite=args.overwrite,
    )
    found = run_archive(args.source, task, args.manifest, chosen(args, ArchiveOptions))
    print(found.told('searched', args.target))
    return found.status


main = Command(
    __doc__,
    arguments,
    run,
    'stopped; repeat the command to go on',
    imports=('insta_colorization.apis.archive',),
)

if __name__ == '__main__':
    sys.exit(main())
