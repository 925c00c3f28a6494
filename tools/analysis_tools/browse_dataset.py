"""Writes sheets of what a config's dataset gives the networks: their grey, the photo, its boxes, and below the crops.

    python tools/analysis_tools/browse_dataset.py CONFIG [--subset train|val|test] [--num 20] [--out-dir DIR]

Everything is shown after the pipeline, as the networks get it: squashed, cropped, mirrored, and in grey as the data
preprocessor makes it (in training that of the 8-bit grey photo, in testing the photo's own lightness).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from insta_colorization.colorspace import from_network, lab_to_rgb
from insta_colorization.datasets import ColorizationDataset
from insta_colorization.imaging.photo import write_photo
from insta_colorization.registry import DATASETS, SCOPE, build_model
from insta_colorization.structures import Instances
from insta_colorization.utils.cli import Parser, run_command
from insta_colorization.utils.configs import load_config
from insta_colorization.visualization.sheets import sheet

# Three crops, in colour and in grey, are as wide as three pictures of 256 pixels.
CROP_SIDE = 125
GAP = 6


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config, by path or name')
    parser.add_argument('--subset', choices=('train', 'val', 'test'), default='train', help='default: train')
    parser.add_argument('--num', type=int, default=20, help='the first so many photos; default: 20')
    parser.add_argument('--out-dir', type=Path, default=Path('results/dataset'), help='default: results/dataset')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    parser.add_argument('--debug', action='store_true', help='show where an error came from')
    args = parser.parse_args(argv)
    if args.num < 1:
        parser.error(f'--num must be at least 1, but is {args.num}')
    return args


def build_dataset(config: Config, subset: str) -> ColorizationDataset:
    """Builds the dataset of one of the config's loaders.

    Raises:
        ValueError: the config has no such loader.
    """
    loader = config.get(f'{subset}_dataloader')
    if loader is None:
        raise ValueError(f'config {config.filename} has no {subset}_dataloader')
    with DefaultScope.overwrite_default_scope(SCOPE):
        return DATASETS.build(loader.dataset)


def sheet_of(packed: dict[str, Any], preprocessor: nn.Module, training: bool) -> np.ndarray:
    """One photo as the networks get it: grey | colour | boxes, and a line of its crops in colour and in grey.

    Args:
        packed: what the dataset gives.
        preprocessor: the model's.
        training: whether it is a photo to train on.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    inputs, sample = packed['inputs'], packed['data_samples']
    batch = preprocessor(
        {'inputs': {name: [value] for name, value in inputs.items()}, 'data_samples': [sample]}, training
    )
    photo = _pictures(inputs['image'])
    instances = sample.instances if 'instances' in sample else Instances.empty(photo.shape[:2])
    lines = [sheet(_grey(batch['lightness'])[0], photo, instances)]
    if len(instances) and 'crops' in inputs:
        pairs = zip(_pictures(inputs['crops']), _grey(batch['crop_lightness']), strict=True)
        lines += [_line([picture for pair in pairs for picture in pair], lines[0].shape[1])]
    width = max(line.shape[1] for line in lines)
    return np.vstack([_widened(line, width) for line in lines])


def _pictures(rgb: Tensor) -> np.ndarray:
    """(*, 3, H, W) uint8 to (*, H, W, 3)."""
    return rgb.movedim(-3, -1).contiguous().numpy()


def _grey(lightness: Tensor) -> np.ndarray:
    """Lightness (N, 1, H, W) in network units as pictures (N, H, W, 3) uint8."""
    rgb = lab_to_rgb(from_network(lightness, lightness.new_zeros(len(lightness), 2, *lightness.shape[2:])))
    return _pictures((rgb.clamp(0, 1) * 255).round().byte())


def _line(crops: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Crops in rows of `width` pixels, or of two crops where that is less, on white."""
    per_row = max(2, (width + GAP) // (CROP_SIDE + GAP) // 2 * 2)
    padding = ((GAP, 0), (0, GAP), (0, 0))
    tiles = [np.pad(cv2.resize(crop, (CROP_SIDE, CROP_SIDE)), padding, constant_values=255) for crop in crops]
    rows = [np.hstack(tiles[start : start + per_row])[:, :-GAP] for start in range(0, len(tiles), per_row)]
    return np.vstack([_widened(row, rows[0].shape[1]) for row in rows])


def _widened(picture: np.ndarray, width: int) -> np.ndarray:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)


def browse(args: argparse.Namespace) -> int:
    """Writes the sheets and says where; returns the exit status."""
    config = load_config(args.config)
    config.merge_from_dict(args.cfg_options or {})
    dataset = build_dataset(config, args.subset)
    preprocessor = build_model(config.model.get('data_preprocessor') or {'type': 'ColorizationPreprocessor'})
    args.out_dir.mkdir(parents=True, exist_ok=True)
    count = min(args.num, len(dataset))
    for index in track(range(count), 'photos', console=Console(stderr=True), transient=True):
        packed = dataset[index]
        with torch.inference_mode():
            picture = sheet_of(packed, preprocessor, training=args.subset == 'train')
        write_photo(picture, args.out_dir / f'{index:06}_{Path(packed["data_samples"].img_path).stem}.png')
    print(f'{count} of {len(dataset)} photos are shown in {args.out_dir}')
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    args = parse_args(argv)
    return run_command(lambda: browse(args), debug=args.debug, when_stopped='stopped')


if __name__ == '__main__':
    sys.exit(main())
