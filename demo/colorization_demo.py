"""Colours photographs.

    python demo/colorization_demo.py [CONFIG] [CHECKPOINT] [--img PHOTO|FOLDER|PATTERN|URL ...] [--out-dir results]

Without arguments the shipped weights colour the bundled photograph. CHECKPOINT may have any known layout: the paper's
files or their folder, MMagic's, siggraph17's, or this project's.
"""

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from insta_colorization.utils.cli import Parser, run_command
from insta_colorization.utils.memory import keep_between_photos

PHOTO = Path(__file__).resolve().parent / 'astronaut.jpg'
# What the command line passes on to the inferencer's constructor and to its call.
BUILT = ('device', 'max_instances', 'score_thr', 'min_size', 'input_size', 'decoder', 'precision')
CALLED = ('out_dir', 'recursive', 'suffix', 'overwrite', 'batch_size', 'native_size', 'upsampling', 'saturation')
CALLED += ('strength', 'show_instances', 'show_fusion', 'save_json', 'crop_budget', 'workers')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; what the user does not set stays absent, so that every default lives in one place."""
    parser = Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument('config', nargs='?', default=None, help="config, by path or name; default: the weights' own")
    parser.add_argument(
        'checkpoint', nargs='?', default=None, help='weights, file or folder; default: the shipped ones'
    )
    parser.add_argument('--img', nargs='+', default=[str(PHOTO)], help='photos, folders, patterns or URLs')
    parser.add_argument('--debug', action='store_true', default=False, help='show where an error came from')

    output = parser.add_argument_group('results')
    output.add_argument('--out-dir', default='results', help='folder of the results; default: results')
    output.add_argument('--recursive', action='store_true', help='look into sub-folders and mirror them')
    output.add_argument('--format', dest='suffix', help="png, jpg, tif, webp, or same for each photo's own")
    output.add_argument('--overwrite', action='store_true', help='make results again that exist already')
    output.add_argument('--show-instances', action='store_true', help='sheet: grey | result | boxes')
    output.add_argument('--show-fusion', nargs='+', metavar='LAYER', help='fusion weight maps, e.g. 3 7 10')
    output.add_argument('--json', dest='save_json', action='store_true', help='write the instances as JSON')

    colour = parser.add_argument_group('colour')
    colour.add_argument(
        '--decoder',
        metavar='NAME',
        help="regression[:GAIN] or annealed-mean[:T], more vivid; default: the weights'",
    )
    colour.add_argument('--native-size', action='store_true', help='256 x 256 as the published code writes')
    colour.add_argument('--upsampling', help='how colour gets to full size: guided or bilinear')
    colour.add_argument('--saturation', type=float, help='factor on the chroma')
    colour.add_argument('--strength', type=float, help='0 grey .. 1 the whole colour')

    objects = parser.add_argument_group('objects')
    source = objects.add_mutually_exclusive_group()
    source.add_argument('--detector', help='auto, none, opencv, mmdet, FILE.onnx or an mmdet CONFIG[:CHECKPOINT]')
    source.add_argument('--boxes', metavar='FILE', help='COCO JSON, .npz of one photo, or a folder of .npz')
    objects.add_argument('--max-instances', type=int, help='the best so many objects are used; default: 8')
    objects.add_argument('--score-thr', type=float, help="lowest usable score; default: the detector's own")
    objects.add_argument('--min-size', type=float, help='shortest usable side in pixels; default: 0')

    networks = parser.add_argument_group('networks')
    networks.add_argument('--device', help='auto, cpu, cuda or cuda:N')
    networks.add_argument('--precision', help='auto, fp32, bf16 or fp16; auto is bf16 where the device has it')
    networks.add_argument('--batch-size', type=int, help='photos that go through the networks at once; default: 1')
    networks.add_argument(
        '--crop-budget', type=int, metavar='N', help='objects that the photos of a batch have at most; default: 32'
    )
    networks.add_argument(
        '--workers', type=int, metavar='N', help='threads that read and write photos; default: one a processor, up to 4'
    )
    networks.add_argument('--input-size', type=int, help="side of what the networks see; default: the weights' own")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Colours what was asked for and reports; returns the number of photos that failed."""
    from insta_colorization.apis.inferencer import ColorizationInferencer
    from insta_colorization.detectors.cached import CachedDetector

    options = vars(args)
    built = {name: options[name] for name in BUILT if name in options}
    called = {name: options[name] for name in CALLED if name in options}
    if 'show_fusion' in called:
        called['show_fusion'] = [layer for text in called['show_fusion'] for layer in text.split(',') if layer]
    detector = CachedDetector.of(options['boxes']) if 'boxes' in options else options.get('detector')
    inferencer = ColorizationInferencer(args.config, args.checkpoint, detector=detector, **built)
    records = inferencer(args.img, on_error='collect', **called)['predictions']
    counts = Counter(record['status'] for record in records)
    if counts['done'] == 1:
        print(next(record['output'] for record in records if record['status'] == 'done'))
    kept = f', {counts["skipped"]} skipped (they exist; --overwrite makes them again)' if counts['skipped'] else ''
    print(f'{counts["done"]} coloured{kept}, {counts["failed"]} failed; results are in {args.out_dir}')
    return counts['failed']


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0, 1 after an error or with photos that failed, 130 when stopped."""
    args = parse_args(argv)
    os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')
    logging.basicConfig(format='%(message)s')
    logging.getLogger('insta_colorization').setLevel(logging.DEBUG if args.debug else logging.INFO)
    return run_command(
        lambda: 1 if run(args) else 0, debug=args.debug, when_stopped='stopped; repeat the command to go on'
    )


if __name__ == '__main__':
    keep_between_photos(vars(parse_args()).get('input_size'))
    sys.exit(main())
