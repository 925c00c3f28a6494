"""Compares coloured photos, of this project or any other, with their true colours.

    python tools/analysis_tools/compare_photos.py COLOURED TRUTH [--gray-world]

Photos belong together by their names without the suffix. Printed for each photo and for all: the mean distance of its
ab from the truth's in Lab units, the same for no colour at all, and the colourfulness (Hasler and Süsstrunk 2003) of
both.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from insta_colorization.utils.cli import Command, Parser


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('coloured', type=Path, help='folder of coloured photos')
    parser.add_argument('truth', type=Path, help='folder of photos of the same sizes in their true colours')
    parser.add_argument(
        '--gray-world',
        action='store_true',
        help="scale the truth's red and blue to the mean of its green first, for truths with a cast",
    )


def compare(args: argparse.Namespace) -> None:
    """Prints the figures.

    Raises:
        ValueError: a photo has no truth or one of another size, or there is no photo.
        ImageReadError: a file cannot be read.
    """
    import numpy as np

    from insta_colorization.evaluation.comparison import compare as figures_of
    from insta_colorization.imaging.photo import load_rgb, photos_below

    truths = {path.stem: path for path in photos_below(args.truth, recursive=False)}
    photos = sorted(photos_below(args.coloured, recursive=False))
    if not photos:
        raise ValueError(f'there is no photo in {args.coloured}')
    rows: list[list[float]] = []
    print(f'{"photo":24}{"ab error":>10}{"of grey":>10}{"CF":>8}{"of truth":>10}')
    for path in photos:
        if path.stem not in truths:
            raise ValueError(f'{path} has no truth in {args.truth}, which has {len(truths)} photos')
        coloured, truth = load_rgb(path), load_rgb(truths[path.stem])
        if coloured.shape != truth.shape:
            raise ValueError(f'{path} has the shape {coloured.shape}, but its truth {truth.shape}')
        if args.gray_world:
            means = truth.reshape(-1, 3).mean(axis=0).clip(min=1)
            truth = (truth * (means[1] / means)).round().clip(0, 255).astype(np.uint8)
        rows.append(list(figures_of(coloured, truth).values()))
        print(_line(path.stem, rows[-1]))
    print(_line('mean', np.mean(rows, axis=0)))
    better = sum(error < grey for error, grey, *_ in rows)
    found, true = np.mean(rows, axis=0)[2:]
    print(f'{better} of {len(rows)} photos are nearer to the truth than without colour')
    if true:
        print(f"CF is {found / true:.2f} of the truth's")


def _line(name: str, row: Sequence[float]) -> str:
    return f'{name:24}{row[0]:10.2f}{row[1]:10.2f}{row[2]:8.1f}{row[3]:10.1f}'


main = Command(__doc__, arguments, compare, 'stopped')

if __name__ == '__main__':
    sys.exit(main())
