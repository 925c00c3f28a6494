"""What a dataset gives the networks, as pictures."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from torch import Tensor, nn

from insta_colorization.colorspace import from_network, lab_to_rgb
from insta_colorization.structures import Instances

from .sheets import sheet

# Three crops, in colour and in grey, are as wide as three pictures of 256 pixels.
CROP_SIDE = 125
GAP = 6


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
    instances = sample.instances if 'instances' in sample else Instances.empty((photo.shape[0], photo.shape[1]))
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
