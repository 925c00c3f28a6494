"""Counts how often each of the 529 colour classes occurs in a folder of photos, for the rebalanced class loss.

    python tools/dataset_converters/ab_prior.py data/photos_80 --out projects/insta_colorization/weights/ab_prior.json

The counts are smoothed by a Gaussian of 5 Lab units (Zhang et al. 2016, section 2.2) and written as a JSON list of
frequencies that add up to 1.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track

from insta_colorization.colorspace import (
    AB_BIN_WIDTH,
    AB_BINS_PER_AXIS,
    NUM_AB_BINS,
    ab_to_bins,
    rgb_to_lab,
    to_network,
)
from insta_colorization.crops import to_tensor
from insta_colorization.datasets.lists import read_list
from insta_colorization.imaging import load_rgb, write_whole

SIGMA = 5.0


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='folder with a train.txt, as prepare_photos.py writes it')
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')
    args = parser.parse_args()

    counts = torch.zeros(NUM_AB_BINS, dtype=torch.int64)
    for name in track(read_list(args.folder / 'train.txt'), description='photos'):
        rgb = to_tensor(load_rgb(args.folder / name))[None] / 255
        counts += torch.bincount(ab_to_bins(to_network(rgb_to_lab(rgb))[1]).flatten(), minlength=NUM_AB_BINS)
    occurring = counts.view(AB_BINS_PER_AXIS, AB_BINS_PER_AXIS).numpy().astype(np.float64)
    smooth = cv2.GaussianBlur(occurring, (5, 5), SIGMA / AB_BIN_WIDTH, borderType=cv2.BORDER_CONSTANT)
    frequencies = np.where(occurring > 0, smooth, 0).ravel()
    rounded = [float(f'{value:.4g}') for value in frequencies / frequencies.sum()]
    write_whole(f'{json.dumps(rounded)}\n'.encode(), args.out)
    print(f'{int((counts > 0).sum())} of {NUM_AB_BINS} classes occur')


if __name__ == '__main__':
    main()
