"""Colours an archive of any size by Ray Data, on this machine or on a cluster, and goes on when it is repeated.

    python tools/colorize_archive.py SOURCE TARGET [--manifest FILE] [--address auto|local|ray://HOST:PORT]

SOURCE and TARGET are folders or addresses of folders (s3://, gs://; SOURCE also http:// with a manifest). Each photo
gets its result and a record beside it; photos that fail are listed in TARGET/failures.parquet, and the others go on.
See docs/archives.md.
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from insta_colorization.utils.cli import Command, Parser, add_options, chosen
from insta_colorization.utils.errors import printable
from insta_colorization.utils.options import (
    ArchiveOptions,
    ColourOptions,
    InputOptions,
    NetworkOptions,
    ObjectOptions,
    PaceOptions,
    ResultOptions,
)

# Each photo has a record, folders are mirrored, and where the results go is TARGET.
GIVEN = {'out_dir': None, 'recursive': True, 'pages': 'first', 'save_json': True}
RESULTS = {field.name for field in fields(ResultOptions)} - GIVEN.keys()
# A file of boxes lies on one machine.
OBJECTS = {field.name for field in fields(ObjectOptions)} - {'boxes'}


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('source', metavar='SOURCE', help='folder of the photos, or its address')
    parser.add_argument('target', metavar='TARGET', help='folder of the results, or its address')
    text = '.txt, .jsonl or .csv that names the photos; default: all below SOURCE'
    parser.add_argument('--manifest', metavar='FILE', help=text)
    parser.add_argument('--config', help="config, by path or name; default: the weights' own")
    parser.add_argument('--checkpoint', help='weights, file or folder; default: the shipped ones')
    add_options(parser, ArchiveOptions, 'machines')
    add_options(parser, InputOptions)
    add_options(parser, ResultOptions, 'results', only=RESULTS)
    add_options(parser, ColourOptions, 'colour')
    add_options(parser, ObjectOptions, 'objects', only=OBJECTS)
    add_options(parser, NetworkOptions, 'networks')
    add_options(parser, PaceOptions, 'pace')


def run(args: argparse.Namespace) -> int:
    """Colours the archive and reports; returns the exit status, 1 with photos that failed."""
    from insta_colorization.apis.archive import FAILURES, colorize_archive

    vars(args).update(GIVEN, boxes=None)
    built = vars(chosen(args, InputOptions)) | vars(chosen(args, ObjectOptions)) | vars(chosen(args, NetworkOptions))
    del built['boxes']
    for name, value in {'config': args.config, 'weights': args.checkpoint}.items():
        # Workers have a working folder of their own.
        built[name] = str(Path(value).resolve()) if value is not None and Path(value).exists() else value
    found = colorize_archive(
        args.source,
        args.target,
        args.manifest,
        built,
        chosen(args, ResultOptions),
        chosen(args, ColourOptions),
        chosen(args, PaceOptions),
        chosen(args, ArchiveOptions),
    )
    target, failed = printable(args.target), sum(found.failed.values())
    kinds = ', '.join(f'{count} {kind}' for kind, count in sorted(found.failed.items()))
    kept = f', {found.skipped} skipped (they exist; --overwrite makes them again)' if found.skipped else ''
    table = f' ({kinds}; {target}/{FAILURES})' if failed else ''
    pace = f'{found.duration:.0f} s, {found.rate:.2f} photos a second'
    print(f'{found.done} coloured{kept}, {failed} failed{table}, in {pace}; results are in {target}')
    return min(failed, 1)


main = Command(
    __doc__,
    arguments,
    run,
    'stopped; repeat the command to go on',
    imports=('insta_colorization.apis.archive',),
)

if __name__ == '__main__':
    sys.exit(main())
