"""A coloured picture beside the true colours of its photo, whoever coloured it."""

from collections.abc import Sequence

import numpy as np
import torch

from insta_colorization.colorspace import rgb_to_lab

from .metrics import PhotoMetric, colorfulness


def compare(coloured: np.ndarray, truth: np.ndarray, metrics: Sequence[PhotoMetric] = ()) -> dict[str, float]:
    """Measures a picture.

    Args:
        coloured: (H, W, 3) uint8 RGB.
        truth: the same in true colours.
        metrics: what is measured as well.

    Returns:
        `ab_error`, the mean distance of its ab from the truth's in Lab units; `ab_error_of_grey`, that of no colour at
        all; `CF` and `CF_truth`, the colourfulness of both; and what the metrics give.
    """
    picture, true = (torch.from_numpy(pixels).movedim(-1, 0) for pixels in (coloured, truth))
    ab, true_ab = rgb_to_lab(torch.stack([picture, true]).float() / 255)[:, 1:]
    figures = {
        'ab_error': float((ab - true_ab).norm(dim=0).mean()),
        'ab_error_of_grey': float(true_ab.norm(dim=0).mean()),
        'CF': colorfulness(picture),
        'CF_truth': colorfulness(true),
    }
    for metric in metrics:
        figures |= metric.measure(true, picture)
    return figures
