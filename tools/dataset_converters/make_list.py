"""Lists the photos that a dataset is trained or tested on, relative to their folder; no photo is copied or changed.

    python tools/dataset_converters/make_list.py FOLDER --names ctest10k.txt --out FOLDER/ctest10k.txt
    python tools/dataset_converters/make_list.py FOLDER --min-ab-range 10 --out FOLDER/colour.txt
    python tools/dataset_converters/make_list.py FOLDER --min-ab-range 10 --split

`--names` is an official list: names with or without folders before them and a label after them, or an `.npy` of
indices of ImageNet's validation photos, counted from 0. Every photo on it must be there. `--split` writes `train.txt`
and `val.txt`, the same tenth of the photos held back as by prepare_photos.py. With `--min-ab-range` every photo is
opened: broken ones and grey ones are counted and left out. A run that was stopped goes on when it is repeated.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from multiprocessing import Pool
from pathlib import Path, PurePath

import numpy as np
from rich.progress import track

from insta_colorization.fileio.journal import Journal
from insta_colorization.imaging.photo import ImageReadError
from insta_colorization.utils.cli import Command, Parser, number

LABEL = re.compile(r'[\s,]+\d+$')


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('folder', type=Path, help='folder of the photos')
    parser.add_argument('--names', type=Path, help='official list, .txt, .csv or .npy; default: all photos')
    parser.add_argument('--min-ab-range', type=float, help='open all photos; leave out those whose ab spans less')
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument('--out', type=Path, help='the list to write')
    target.add_argument('--split', action='store_true', help='write train.txt and val.txt into the folder instead')
    parser.add_argument('--jobs', type=number(int, 1), default=2, help='processes that open photos')


def official_names(file: Path) -> list[str]:
    """The names on an official list, without the labels.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: an `.npy` does not hold integers.
    """
    from insta_colorization.datasets.lists import read_list

    if file.suffix != '.npy':
        return [LABEL.sub('', line.strip()) for line in read_list(file)]
    indices = np.load(file, allow_pickle=False)
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f'{file} must hold one row of integers, but holds {indices.dtype} of shape {indices.shape}')
    return [f'ILSVRC2012_val_{index + 1:08d}.JPEG' for index in indices.tolist()]


def find(names: Sequence[str], present: Sequence[str]) -> tuple[list[str], list[str]]:
    """Finds photos by the path on the list as far as it is that of the folder, then by the file name alone.

    Args:
        names: as an official list has them.
        present: relative names of the photos that are there.

    Returns:
        The relative names of those found, and the names of the others.
    """
    from insta_colorization.fileio.boxes import tails

    exact = set(present)
    by_file_name: dict[str, list[str]] = {}
    for name in present:
        by_file_name.setdefault(PurePath(name).name, []).append(name)
    found, missing = [], []
    for name in names:
        same = by_file_name.get(PurePath(name).name, [])
        only = same[0] if len(same) == 1 else None
        match = next((tail for tail in map(str, tails(PurePath(name))) if tail in exact), only)
        if match is None:
            missing.append(name)
        else:
            found.append(match)
    return found, missing


def fate_of(name: str, folder: Path, min_ab_range: float) -> tuple[str, str]:
    """A photo's name and what it is: good, grey or broken."""
    from insta_colorization.datasets.transforms import GreyPhotoError, load_colour

    try:
        load_colour(folder / name, min_ab_range)
    except GreyPhotoError:
        return name, 'grey'
    except ImageReadError:
        return name, 'broken'
    return name, 'good'


def fates_of(names: Sequence[str], args: argparse.Namespace, journal: Journal) -> dict[str, str]:
    """What each photo is; those that the journal has are not opened again."""
    import torch

    fates = dict(journal)
    rest = [name for name in names if name not in fates]
    work = partial(fate_of, folder=args.folder, min_ab_range=args.min_ab_range)
    with journal, Pool(args.jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for name, fate in track(pool.imap(work, rest, chunksize=16), description='photos', total=len(rest)):
            fates[name] = fate
            journal.append((name, fate))
    return fates


def make(args: argparse.Namespace) -> None:
    """Writes the list, or the two, and says how many photos are on it.

    Raises:
        FileNotFoundError: the folder or the official list is missing.
        ValueError: the folder has no photos, or not all of the official list, or none is left.
    """
    from insta_colorization.datasets.lists import photos_in, write_list

    if not args.folder.is_dir():
        raise FileNotFoundError(f'the folder {args.folder} does not exist')
    names = present = photos_in(args.folder)
    if args.names is not None:
        names, missing = find(official_names(args.names), present)
        if missing:
            count = len(names) + len(missing)
            raise ValueError(
                f'{len(missing)} of the {count} photos on {args.names} are not in {args.folder}, such as {missing[0]}'
            )
    parts = Path(f'{args.out or args.folder / "train.txt"}.parts')
    journal = Journal(parts, {'min_ab_range': args.min_ab_range})
    fates = {} if args.min_ab_range is None else fates_of(names, args, journal)
    kept = [name for name in names if fates.get(name, 'good') == 'good']
    if not kept:
        raise ValueError(f'no photo is left of {len(names)} in {args.folder}')
    for file, part in _parts(kept, args).items():
        write_list(part, file)
        print(f'{file}: {len(part)} photos')
    journal.remove()
    counts = Counter(fates[name] for name in names if name in fates)
    left_out = ''.join(f', {counts[fate]} {fate}' for fate in ('grey', 'broken') if fates)
    print(f'{len(kept)} of {len(names)} photos{left_out}')


def _parts(kept: list[str], args: argparse.Namespace) -> dict[Path, list[str]]:
    if not args.split:
        return {args.out: kept}
    from insta_colorization.datasets.lists import held_back

    return {
        args.folder / 'train.txt': [name for name in kept if not held_back(name)],
        args.folder / 'val.txt': [name for name in kept if held_back(name)],
    }


main = Command(__doc__, arguments, make, 'stopped; the same command goes on from here')

if __name__ == '__main__':
    sys.exit(main())
