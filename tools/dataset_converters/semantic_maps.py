"""Makes maps of our 60 classes from those of a dataset, as `LoadSemanticMap` reads them: grey PNG, 255 for unknown.

    python tools/dataset_converters/semantic_maps.py PNGS OUT --panoptic panoptic_train2017.json
    python tools/dataset_converters/semantic_maps.py PNGS OUT --table coco-panoptic
    python tools/dataset_converters/semantic_maps.py PNGS OUT --table TABLE.json

`--panoptic` is for COCO's panoptic annotations: the colour of a pixel says its segment, the JSON the segment's
category. `--table` is for indexed or grey PNG: `coco-panoptic` where a pixel is COCO's category id (0 is unlabelled),
or a JSON of {their number: name of our class}; what is not in it is unknown. A map that exists is kept.
"""

import argparse
import io
import json
import sys
from collections.abc import Mapping
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import track

from insta_colorization.utils.cli import Command, Parser, number

COCO = 'coco-panoptic'


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('src', type=Path, help='folder of PNG files, including sub-folders')
    parser.add_argument('dst', type=Path, help='folder to write to')
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument('--panoptic', type=Path, metavar='JSON', help="COCO's panoptic annotations")
    kind.add_argument('--table', help=f'{COCO}, or JSON of their numbers and our classes')
    parser.add_argument('--jobs', type=number(int, 1), default=2, help='processes')


def read_table(text: str) -> np.ndarray:
    """(256,) uint8: our class of each of their numbers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such table, or names what is no class.
    """
    from insta_colorization.structures import SEMANTIC_CLASSES, UNKNOWN, coco_panoptic_table

    if text == COCO:
        return coco_panoptic_table()
    content = _json(Path(text))
    if not isinstance(content, Mapping):
        raise ValueError(f'{text} must have our class of each of their numbers, but is a {type(content).__name__}')
    table = np.full(256, UNKNOWN, np.uint8)
    for key, name in content.items():
        if not key.isdecimal() or int(key) > 255:
            raise ValueError(f'{text} must have numbers 0..255, but has {key!r}')
        if name not in SEMANTIC_CLASSES:
            raise ValueError(f'{text} has {key}: {name!r}, which is none of our classes')
        table[int(key)] = SEMANTIC_CLASSES.index(name)
    return table


def read_panoptic(path: Path) -> dict[str, dict[int, int]]:
    """{file: {segment: category}} of COCO's panoptic annotations.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file.
    """
    content = _json(path)
    try:
        return {
            entry['file_name']: {int(part['id']): int(part['category_id']) for part in entry['segments_info']}
            for entry in content['annotations']
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f'{path} is no file of panoptic annotations: {type(error).__name__} {error}') from error


def translate(path: Path, table: np.ndarray, segments: Mapping[int, int] | None = None) -> np.ndarray:
    """The map (H, W) uint8 of our classes that a PNG becomes.

    Args:
        path: the file.
        table: (256,) our class of each of their numbers.
        segments: {segment: category}, where the colour of a pixel says its segment.

    Raises:
        ImageReadError: the file cannot be read, or is of another kind.
        ValueError: it has a segment that the annotations do not.
    """
    from insta_colorization.imaging import ImageReadError
    from insta_colorization.imaging.decoders import MAX_PIXELS, open_by_pillow

    modes = ('P', 'L') if segments is None else ('RGB',)
    try:
        with open_by_pillow(path, MAX_PIXELS) as image:
            if image.mode not in modes:
                raise ImageReadError(f'its mode must be one of {", ".join(modes)}, but is {image.mode!r}')
            values = np.array(image)
    except ImageReadError as error:
        raise ImageReadError(f'cannot read the map {path}: {error}') from error
    if segments is None:
        return table[values]
    names, where = np.unique(values.astype(np.int64) @ [1, 2**8, 2**16], return_inverse=True)
    if lacking := [name for name in names.tolist() if name and name not in segments]:
        raise ValueError(f'{path} has the segment {lacking[0]}, which its annotations lack')
    classes = table[[segments.get(name, 0) for name in names.tolist()]]
    return classes[where].reshape(values.shape[:2])


def convert(item: tuple[str, Mapping[int, int] | None], args: argparse.Namespace, table: np.ndarray) -> None:
    """Makes one map, if it is not there, of a file's name and its segments."""
    from insta_colorization.fileio.files import write_whole

    name, segments = item
    target = args.dst / name
    if target.exists():
        return
    out = io.BytesIO()
    Image.fromarray(translate(args.src / name, table, segments)).save(out, 'PNG', optimize=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out.getvalue(), target)


def run(args: argparse.Namespace) -> None:
    """Makes all maps and says how many there are.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: a file cannot be used.
    """
    if not args.src.is_dir():
        raise FileNotFoundError(f'the folder {args.src} does not exist')
    annotations = None if args.panoptic is None else read_panoptic(args.panoptic)
    table = read_table(COCO if args.table is None else args.table)
    names = sorted(path.relative_to(args.src).as_posix() for path in args.src.rglob('*.png'))
    items = [(name, annotations and annotations[name]) for name in names if annotations is None or name in annotations]
    if not items:
        raise ValueError(f'{args.src} holds no PNG' + ('' if annotations is None else f' that {args.panoptic} names'))
    with Pool(args.jobs) as pool:
        work = pool.imap(partial(convert, args=args, table=table), items, chunksize=16)
        for _ in track(work, description='maps', total=len(items)):
            pass
    print(f'{args.dst}: {len(items)} maps')


def _json(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f'there is no file {path}')
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error


main = Command(__doc__, arguments, run, 'stopped; repeat the command to go on')

if __name__ == '__main__':
    sys.exit(main())
