"""Unpacks photos for training, or squashes them to small squares once instead of decoding them in every epoch.

    python tools/dataset_converters/prepare_photos.py SRC... --out data/photos
    python tools/dataset_converters/prepare_photos.py SRC... --size 80 --out data/photos_80

SRC is a folder or a tar of photos. `--out` receives them under their own relative names, byte for byte or as square
PNGs, with `train.txt` and `val.txt`: one photo in ten, chosen by its name, is held back for validation, the same ones
in every such folder. Photos of which neither a nor b spans 10 Lab units (grey ones) are counted and left out, as the
published training does, and so are broken ones; of photos that would get the same name the first is taken. Photos that
exist are kept, so a stopped run is resumed by repeating it.
"""

import argparse
import io
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from multiprocessing import pool as pools
from pathlib import Path, PurePath

import numpy as np
from PIL import Image
from rich.progress import track

from insta_colorization.fileio.files import write_whole
from insta_colorization.imaging.photo import ImageReadError, is_photo_name
from insta_colorization.utils.cli import Command, Parser, number

MIN_AB_RANGE = 10
# Photos in memory at a time.
BATCH = 256


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('source', nargs='+', type=Path, help='folder or tar of photos')
    text = 'side of the squares, in pixels; default: photos stay as they are'
    parser.add_argument('--size', type=number(int, 1), help=text)
    parser.add_argument('--out', type=Path, required=True, help='folder for the photos and their lists')
    parser.add_argument('--jobs', type=number(int, 1), default=2, help='processes')


def photos(source: Path) -> Iterator[tuple[str, bytes]]:
    """Relative name and file content of every photo in a folder or a tar.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: the file is not a tar, or would write outside the folder that it is unpacked into.
    """
    from insta_colorization.datasets.lists import photos_in

    if source.is_dir():
        for name in photos_in(source):
            yield name, (source / name).read_bytes()
        return
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                photo = archive.extractfile(member) if is_photo_name(PurePath(member.name)) else None
                if photo is not None:
                    yield _inside(member.name, source), photo.read()
    except tarfile.TarError as error:
        raise ValueError(f'{source} is neither a folder nor a tar that can be read: {error}') from error


def _inside(name: str, source: Path) -> str:
    if PurePath(name).is_absolute() or '..' in PurePath(name).parts:
        raise ValueError(f'{source} holds {name}, which would be written outside the folder')
    return str(PurePath(name))


def prepare(item: tuple[str, bytes], size: int | None, out: Path) -> tuple[str, str]:
    """Writes one photo; returns its new relative name and what became of it: kept, grey or broken."""
    from insta_colorization.datasets.transforms import GreyPhotoError, load_colour
    from insta_colorization.imaging.resize import resize_photo

    name, content = item
    target = out / name if size is None else (out / name).with_suffix('.png')
    relative = str(target.relative_to(out))
    if target.exists():
        return relative, 'kept'
    try:
        photo = load_colour(io.BytesIO(content), MIN_AB_RANGE)
    except GreyPhotoError:
        return relative, 'grey'
    except ImageReadError:
        return relative, 'broken'
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(content if size is None else _as_png(resize_photo(photo, size)), target)
    return relative, 'kept'


def _as_png(photo: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, 'PNG', compress_level=1)
    return buffer.getvalue()


def _in_batches(
    pool: pools.Pool, work: Callable[[tuple[str, bytes]], tuple[str, str]], items: Iterator[tuple[str, bytes]]
) -> Iterator[tuple[str, str]]:
    # `pool.imap` alone would read the contents of all photos into memory.
    while batch := list(islice(items, BATCH)):
        yield from pool.imap(work, batch, chunksize=BATCH // 16)


def prepare_all(args: argparse.Namespace) -> None:
    """Writes the photos and their lists, and says what became of them.

    Raises:
        ValueError: there is no photo, or none that can be trained on.
    """
    import torch

    from insta_colorization.datasets.lists import held_back, write_list

    args.out.mkdir(parents=True, exist_ok=True)
    kept: dict[str, None] = {}
    fates: Counter[str] = Counter()
    items = (item for source in args.source for item in photos(source))
    with pools.Pool(args.jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        work = partial(prepare, size=args.size, out=args.out)
        for name, fate in track(_in_batches(pool, work, items), description='photos', total=None):
            if fate == 'kept' and name in kept:
                fate = 'of a name that another photo has'
            fates[fate] += 1
            if fate == 'kept':
                kept[name] = None
    counts = ', '.join(f'{count} {fate}' for fate, count in sorted(fates.items()))
    if not kept:
        raise ValueError(f'no photo to train on in {", ".join(map(str, args.source))}: {counts or "none at all"}')
    write_list((name for name in kept if not held_back(name)), args.out / 'train.txt')
    write_list(filter(held_back, kept), args.out / 'val.txt')
    print(counts)


main = Command(__doc__, arguments, prepare_all, 'stopped; the same command goes on from here')

if __name__ == '__main__':
    sys.exit(main())
