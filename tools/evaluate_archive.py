"""Measures by Ray Data how near the colours of an archive's results are to the true ones; goes on when it is repeated.

    python tools/evaluate_archive.py TRUTH COLOURED TARGET [--manifest FILE] [--address auto|local|ray://HOST:PORT]

TRUTH is the SOURCE from which tools/colorize_archive.py made COLOURED, or photos of the same names in true colours.
TARGET gets the figures of each photo as JSON, figures.parquet with those of all, and their means in summary.json. All
three are folders or addresses of folders. See docs/archives.md.
"""

import argparse
import sys

from insta_colorization.utils.cli import Command, Parser, add_manifest, add_options, chosen
from insta_colorization.utils.options import (
    ArchiveOptions,
    InputOptions,
    NetworkOptions,
    PaceOptions,
    ResultOptions,
)


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('truth', metavar='TRUTH', help='folder of the photos in true colours, or its address')
    parser.add_argument('coloured', metavar='COLOURED', help='folder of the coloured ones, or its address')
    parser.add_argument('target', metavar='TARGET', help='folder of the figures, or its address')
    add_manifest(parser, 'TRUTH')
    parser.add_argument('--lpips', action='store_true', help='measure LPIPS as well')
    add_options(parser, ResultOptions, only=('suffix', 'overwrite'))
    add_options(parser, InputOptions)
    add_options(parser, NetworkOptions, only=('device',))
    add_options(parser, PaceOptions, only=('workers',))
    add_options(parser, ArchiveOptions, 'machines')


def run(args: argparse.Namespace) -> int:
    """Measures and reports; returns the exit status, 1 with photos that failed."""
    from insta_colorization.apis.archive import run_archive
    from insta_colorization.apis.archive_tasks import EvaluateTask
    from insta_colorization.fileio.stores import Folder

    coloured = Folder.at(args.coloured)
    task = EvaluateTask(
        Folder.at(args.target),
        coloured,
        format=args.suffix,
        lpips=args.lpips,
        device=args.device,
        max_pixels=args.max_pixels,
        pace=PaceOptions(workers=args.workers),
        overwrite=args.overwrite,
    )
    found = run_archive(args.truth, task, args.manifest, chosen(args, ArchiveOptions), [coloured])
    print(found.told('measured', args.target))
    if found.figures:
        count = found.done + found.skipped
        print(f'means of {count}: {", ".join(f"{name} {mean:.4g}" for name, mean in found.figures.items())}')
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
