"""Colours photographs.

    python demo/colorization_demo.py [CONFIG] [CHECKPOINT] [--img PHOTO|FOLDER|PATTERN|URL ...] [--out-dir results]

Without arguments the shipped weights colour the bundled photograph. CHECKPOINT may have any known layout: the paper's
files or their folder, MMagic's, siggraph17's, or this project's.
"""

import argparse
import logging
import os
import sys
import traceback
from collections import Counter
from pathlib import Path

PHOTO = Path(__file__).resolve().parent / 'astronaut.jpg'


def parse_args() -> argparse.Namespace:
    """Reads the command line; what the user does not set stays absent, so that every default lives in one place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    absent = {'default': argparse.SUPPRESS}
    parser.add_argument('config', nargs='?', help="config, by path or recipe name; default: the shipped weights'")
    parser.add_argument('checkpoint', nargs='?', help='weights, a file or a folder; default: the shipped ones')
    parser.add_argument('--img', nargs='+', default=[str(PHOTO)], help='photos, folders, patterns or URLs')
    parser.add_argument('--out-dir', default='results', help='folder of the results; default: results')
    parser.add_argument('--recursive', action='store_true', help='look into sub-folders and mirror them')
    parser.add_argument('--format', dest='suffix', help="png, jpg, tif, webp, or same for each photo's own", **absent)
    parser.add_argument('--overwrite', action='store_true', help='make results again that exist already')
    parser.add_argument('--batch-size', type=positive, help='photos a batch', **absent)
    parser.add_argument('--native-size', action='store_true', help='256 x 256 as the published code writes', **absent)
    parser.add_argument('--upsampling', choices=['guided', 'bilinear'], help='how colour gets to full size', **absent)
    parser.add_argument('--saturation', type=float, help='factor on the chroma', **absent)
    parser.add_argument('--strength', type=float, help='0 grey .. 1 the whole colour', **absent)
    parser.add_argument('--show-instances', action='store_true', help='sheet: grey | result | boxes', **absent)
    parser.add_argument('--show-fusion', nargs='+', metavar='LAYER', help='fusion weight maps, e.g. 3 7 10', **absent)
    parser.add_argument('--json', dest='save_json', action='store_true', help='write the instances as JSON', **absent)
    model = parser.add_argument_group('networks and detector')
    source = model.add_mutually_exclusive_group()
    source.add_argument(
        '--detector', help='auto, none, opencv, mmdet, FILE.onnx or an mmdet CONFIG[:CHECKPOINT]', **absent
    )
    source.add_argument(
        '--boxes', dest='detector', help='COCO JSON, or .npz of one photo, or a folder of them', **absent
    )
    model.add_argument('--max-instances', type=int, help='the best so many boxes are used; default 8', **absent)
    model.add_argument('--score-thr', type=float, help="lowest usable score; default: the detector's own", **absent)
    model.add_argument('--input-size', type=int, help='side of what the networks see', **absent)
    model.add_argument('--device', help='auto, cpu, cuda or cuda:N', **absent)
    parser.add_argument('--debug', action='store_true', help='show where an error came from')
    return parser.parse_args()


def positive(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number of at least 1, but got {text!r}')
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Colours what was asked for and reports; returns the number of photos that failed."""
    from insta_colorization.inferencer import ColorizationInferencer

    options = vars(args)
    built = ('detector', 'max_instances', 'score_thr', 'input_size', 'device')
    called = ('batch_size', 'recursive', 'suffix', 'overwrite', 'out_dir', 'native_size', 'upsampling', 'saturation')
    called += ('strength', 'show_instances', 'show_fusion', 'save_json')
    if options.get('suffix', 'same') != 'same':
        options['suffix'] = '.' + options['suffix'].removeprefix('.')
    if {'show_instances', 'save_json'} & options.keys():
        options.setdefault('detector', 'auto')
    inferencer = ColorizationInferencer(
        args.config, args.checkpoint, **{key: options[key] for key in built if key in options}
    )
    arguments = {key: options[key] for key in called if key in options}
    records = inferencer(args.img, on_error='collect', **arguments)['predictions']
    counts = Counter(record['status'] for record in records)
    for record in records:
        if record['status'] == 'failed':
            print(f'failed: {record["reason"]}', file=sys.stderr)
    if counts['done'] == 1:
        print(next(record['output'] for record in records if record['status'] == 'done'))
    kept = f', {counts["skipped"]} skipped (they exist; --overwrite makes them again)' if counts['skipped'] else ''
    print(f'{counts["done"]} coloured{kept}, {counts["failed"]} failed; results are in {args.out_dir}')
    return counts['failed']


def main() -> int:
    """Runs the command; returns its exit status."""
    args = parse_args()
    os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')
    logging.basicConfig(format='%(message)s')
    logging.getLogger('insta_colorization').setLevel(logging.INFO)
    try:
        return 1 if run(args) else 0
    except (ValueError, OSError, ImportError) as error:
        if args.debug:
            traceback.print_exc()
        else:
            print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('stopped; repeat the command to go on', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
