"""Colours an archive of any size by Ray Data, on this machine or on a cluster, and goes on when it is repeated.

    python tools/colorize_archive.py SOURCE TARGET [--manifest FILE] [--address auto|local|ray://HOST:PORT]

SOURCE and TARGET are folders or addresses of folders (s3://, gs://; SOURCE also http:// with a manifest). Each photo
gets its result and a record beside it; photos that fail are listed in TARGET/failures.parquet, and the others go on.
See docs/archives.md.
"""

import argparse
import sys
from dataclasses import fields

from insta_colorization.utils.cli import (
    Command,
    Parser,
    UsageError,
    absolute,
    absolute_detector,
    add_manifest,
    add_options,
    chosen,
)
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
OBJECTS = {field.name for field in fields(ObjectOptions)} - {'boxes'}


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('source', metavar='SOURCE', help='folder of the photos, or its address')
    parser.add_argument('target', metavar='TARGET', help='folder of the results, or its address')
    add_manifest(parser, 'SOURCE')
    parser.add_argument('--config', help="config, by path or name; default: the weights' own")
    parser.add_argument('--checkpoint', help='weights, file or folder; default: the shipped ones')
    add_options(parser, ArchiveOptions, 'machines')
    add_options(parser, InputOptions)
    add_options(parser, ResultOptions, 'results', only=RESULTS)
    add_options(parser, ColourOptions, 'colour')
    add_options(parser, ObjectOptions, 'objects', only=OBJECTS)
    text = 'bounding boxes instead: what detect_archive.py made of SOURCE, a folder or its address; default: none'
    parser.add_argument('--boxes', metavar='FOLDER', help=text)
    add_options(parser, NetworkOptions, 'networks')
    add_options(parser, PaceOptions, 'pace')


def run(args: argparse.Namespace) -> int:
    """Colours the archive and reports; returns the exit status, 1 with photos that failed."""
    from insta_colorization.apis.archive import colorize_archive

    if args.boxes is not None and args.detector is not None:
        raise UsageError('argument --boxes: not allowed with argument --detector')
    vars(args).update(GIVEN)
    built = vars(chosen(args, InputOptions)) | vars(chosen(args, ObjectOptions)) | vars(chosen(args, NetworkOptions))
    boxes = built.pop('boxes')
    built |= {
        'config': args.config and absolute(args.config),
        'weights': args.checkpoint and absolute(args.checkpoint),
        'detector': args.detector and absolute_detector(args.detector),
    }
    found = colorize_archive(
        args.source,
        args.target,
        args.manifest,
        built,
        chosen(args, ResultOptions),
        chosen(args, ColourOptions),
        chosen(args, PaceOptions),
        chosen(args, ArchiveOptions),
        boxes,
    )
    print(found.told('coloured', args.target))
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
