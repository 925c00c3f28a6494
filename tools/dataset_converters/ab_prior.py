"""Counts how often each of the 529 colour classes occurs in a folder of photos, for the rebalanced class loss.

    python tools/dataset_converters/ab_prior.py data/photos_80 --out projects/insta_colorization/weights/ab_prior.json

The counts are smoothed by a Gaussian of 5 Lab units (Zhang et al. 2016, section 2.2) and written as a JSON list of
frequencies that add up to 1.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from insta_colorization.fileio.files import write_whole
from insta_colorization.imaging.photo import load_rgb
from insta_colorization.utils.cli import Command, Parser

SIGMA = 5.0


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('folder', type=Path, help='folder with a train.txt, as prepare_photos.py writes it')
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')


def count(args: argparse.Namespace) -> None:
    """Counts and writes.

    Raises:
        FileNotFoundError: the folder has no list.
        ValueError: the list is empty, or a photo cannot be read.
    """
    import torch

    from insta_colorization.colorspace import (
        AB_BIN_WIDTH,
        AB_BINS_PER_AXIS,
        NUM_AB_BINS,
        ab_to_bins,
        rgb_to_lab,
        to_network,
    )
    from insta_colorization.datasets.lists import read_list
    from insta_colorization.imaging.resize import to_tensor

    names = read_list(args.folder / 'train.txt')
    if not names:
        raise ValueError(f'the list {args.folder / "train.txt"} names 0 photos, but at least 1 is needed')
    args.out.parent.mkdir(parents=True, exist_ok=True)
    counts = torch.zeros(NUM_AB_BINS, dtype=torch.int64)
    for name in track(names, description='photos'):
        rgb = to_tensor(load_rgb(args.folder / name))[None] / 255
        counts += torch.bincount(ab_to_bins(to_network(rgb_to_lab(rgb))[1]).flatten(), minlength=NUM_AB_BINS)
    occurring = counts.view(AB_BINS_PER_AXIS, AB_BINS_PER_AXIS).numpy().astype(np.float64)
    smooth = cv2.GaussianBlur(occurring, (5, 5), SIGMA / AB_BIN_WIDTH, borderType=cv2.BORDER_CONSTANT)
    frequencies = np.where(occurring > 0, smooth, 0).ravel()
    rounded = [float(f'{value:.4g}') for value in frequencies / frequencies.sum()]
    write_whole(f'{json.dumps(rounded)}\n'.encode(), args.out)
    print(f'{int((counts > 0).sum())} of {NUM_AB_BINS} classes occur')


main = Command(__doc__, arguments, count, 'stopped; nothing was written')

if __name__ == '__main__':
    sys.exit(main())
