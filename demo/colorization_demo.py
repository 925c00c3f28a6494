"""Colours photographs.

    python demo/colorization_demo.py [CONFIG] [CHECKPOINT] [--img PHOTO|FOLDER|PATTERN|URL ...] [--out-dir results]

Without arguments the shipped weights colour the bundled photograph. CHECKPOINT may have any known layout: the paper's
files or their folder, MMagic's, siggraph17's, or this project's.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from insta_colorization.utils.cli import Command, Parser, UsageError, add_options, chosen
from insta_colorization.utils.configs import add_cfg_options, load_config
from insta_colorization.utils.errors import printable
from insta_colorization.utils.memory import keep_between_photos
from insta_colorization.utils.options import (
    ColourOptions,
    InputOptions,
    NetworkOptions,
    ObjectOptions,
    PaceOptions,
    ResultOptions,
)
from insta_colorization.utils.progress import progress_bar

PHOTO = Path(__file__).resolve().parent / 'astronaut.jpg'


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('config', nargs='?', help="config, by path or name; default: the weights' own")
    parser.add_argument('checkpoint', nargs='?', help='weights, file or folder; default: the shipped ones')
    add_cfg_options(parser)
    text = 'photos, folders, patterns or URLs; default: the bundled photo'
    parser.add_argument('--img', nargs='+', default=[str(PHOTO)], help=text)
    parser.add_argument('--hints', metavar='FILE', help='JSON: colours at points, boxes and objects; default: none')
    classes = parser.add_mutually_exclusive_group()
    text = 'the class of each pixel: PNG of one photo or folder of PNG; default: the segmenter says'
    classes.add_argument('--map', metavar='FILE', help=text)
    classes.add_argument('--no-segmenter', action='store_true', help='every pixel is background')
    parser.add_argument('--edits', metavar='FILE', help='JSON of the studio: what was corrected by hand; default: none')
    said = parser.add_mutually_exclusive_group()
    said.add_argument('--caption', metavar='TEXT', help='which colours things have, "a red bus"; default: none')
    said.add_argument('--captions', metavar='FILE', help='JSON, CSV: a caption for each photo; default: none')
    add_options(parser, InputOptions)
    add_options(parser, ResultOptions, 'results')
    add_options(parser, ColourOptions, 'colour')
    add_options(parser, ObjectOptions, 'objects')
    add_options(parser, NetworkOptions, 'networks')
    add_options(parser, PaceOptions, 'pace')


def run(args: argparse.Namespace) -> int:
    """Colours what was asked for and reports; returns the exit status, 1 with photos that failed."""
    from insta_colorization.apis.album import color_album
    from insta_colorization.apis.edits import EditFile
    from insta_colorization.apis.jobs import plan
    from insta_colorization.apis.predictor import Predictor
    from insta_colorization.fileio.captions import CaptionFile
    from insta_colorization.fileio.hints import HintFile
    from insta_colorization.imaging.maps import BackgroundMaps, MapFiles

    results, colour, pace = chosen(args, ResultOptions), chosen(args, ColourOptions), chosen(args, PaceOptions)
    built = vars(chosen(args, InputOptions)) | vars(chosen(args, ObjectOptions)) | vars(chosen(args, NetworkOptions))
    boxes = built.pop('boxes')
    if boxes is not None:
        if args.detector is not None:
            raise UsageError('argument --boxes: not allowed with argument --detector')
        masks = {} if args.hints is args.caption is args.captions is None else {'masks': True}
        built['detector'] = {'type': 'CachedDetector', 'path': boxes, **masks}
    hints = None if args.hints is None else HintFile(args.hints)
    maps = BackgroundMaps() if args.no_segmenter else None if args.map is None else MapFiles(args.map, args.max_pixels)
    captions = args.caption if args.captions is None else CaptionFile(args.captions)
    edits = None if args.edits is None else EditFile(args.edits)
    if args.cfg_options and args.config is None:
        raise UsageError(f'--cfg-options needs the config that it changes, but got {", ".join(args.cfg_options)} alone')
    config = load_config(args.config, args.cfg_options) if args.cfg_options else args.config
    predictor = Predictor(config, args.checkpoint, **built)
    jobs = plan(args.img, args.out_dir, args.recursive, args.suffix, args.pages, args.max_pixels)
    with progress_bar() as tell:
        outcomes = color_album(
            predictor, jobs, results, colour, pace, 'collect', tell, False, hints, maps, captions, edits
        )
    records = [outcome.record for outcome in outcomes]
    counts = Counter(record['status'] for record in records)
    if counts['done'] == 1:
        print(printable(next(record['output'] for record in records if record['status'] == 'done')))
    kept = f', {counts["skipped"]} skipped (they exist; --overwrite makes them again)' if counts['skipped'] else ''
    print(f'{counts["done"]} coloured{kept}, {counts["failed"]} failed; results are in {printable(args.out_dir)}')
    return min(counts['failed'], 1)


main = Command(
    __doc__,
    arguments,
    run,
    'stopped; repeat the command to go on',
    begin=lambda args: keep_between_photos(args.input_size),
    imports=('insta_colorization.apis.predictor',),
)

if __name__ == '__main__':
    sys.exit(main())
