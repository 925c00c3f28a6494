"""Squashes photos to small squares once, so that training does not decode them at full size in every epoch.

    python tools/dataset_converters/prepare_photos.py SRC... --size 80 --out data/photos_80

SRC is a folder or a tar of photos. `--out` receives them as PNG under their own relative names, with `train.txt` and
`val.txt`: one photo in ten, chosen by its name, is held back for validation. Photos whose ab spans less than
10 Lab units (grey ones) are counted and left out, as the published training does; of photos whose names differ only in
their suffix the first is taken and the others are counted. Photos that exist are kept, so a stopped run is resumed by
repeating it.
"""

import argparse
import io
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import torch
from PIL import Image
from rich.progress import track

from insta_colorization.colorspace import rgb_to_lab
from insta_colorization.crops import resize_photo, to_tensor
from insta_colorization.imaging import READABLE_SUFFIXES, ImageReadError, load_rgb

MIN_AB_RANGE = 10


def photos(source: Path) -> Iterator[tuple[str, bytes]]:
    """Relative name and file content of every photo in a folder or a tar."""
    if source.is_dir():
        for path in sorted(source.rglob('*')):
            if path.suffix.lower() in READABLE_SUFFIXES:
                yield str(path.relative_to(source)), path.read_bytes()
        return
    with tarfile.open(source) as archive:
        for member in archive:
            if Path(member.name).suffix.lower() in READABLE_SUFFIXES:
                yield member.name, archive.extractfile(member).read()


def prepare(item: tuple[str, bytes], size: int, out: Path) -> tuple[str, str]:
    """Writes one photo; returns its new relative name and what became of it: kept, grey or broken."""
    name, content = item
    target = (out / name).with_suffix('.png')
    relative = str(target.relative_to(out))
    if target.exists():
        return relative, 'kept'
    try:
        photo = resize_photo(load_rgb(io.BytesIO(content)), size)
    except ImageReadError:
        return relative, 'broken'
    ab = rgb_to_lab(to_tensor(photo) / 255)[1:].flatten(1)
    if (ab.amax(dim=1) - ab.amin(dim=1)).max() < MIN_AB_RANGE:
        return relative, 'grey'
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix('.part')
    Image.fromarray(photo).save(part, 'PNG', compress_level=1)
    part.replace(target)
    return relative, 'kept'


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', nargs='+', type=Path, help='folder or tar of photos')
    parser.add_argument('--size', type=int, default=80, help='side of the squares, in pixels')
    parser.add_argument('--out', type=Path, required=True, help='folder for the squares')
    parser.add_argument('--jobs', type=int, default=2, help='processes')
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    kept, fates, lists = set(), Counter(), {'train': [], 'val': []}
    items = (item for source in args.source for item in photos(source))
    with Pool(args.jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        work = partial(prepare, size=args.size, out=args.out)
        for name, fate in track(pool.imap(work, items, chunksize=16), description='photos', total=None):
            if fate == 'kept' and name in kept:
                fate = 'of a name that another photo has'
            fates[fate] += 1
            if fate == 'kept':
                kept.add(name)
                held_back = zlib.crc32(Path(name).with_suffix('').as_posix().encode()) % 10 == 0
                lists['val' if held_back else 'train'].append(name)
    for subset, names in lists.items():
        (args.out / f'{subset}.txt').write_text(''.join(f'{name}\n' for name in names))
    print(', '.join(f'{count} {fate}' for fate, count in sorted(fates.items())))


if __name__ == '__main__':
    main()
