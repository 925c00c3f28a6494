"""Structural similarity."""

import torch.nn.functional as F
from torch import Tensor

from insta_colorization.registry import METRICS

from .base import PhotoMetric

WINDOW = 7
DATA_RANGE = 255
# Rows of windows at a time: all those of a photo of 12 megapixels would take 3 GB.
_ROWS = 512
_C1, _C2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2


def structural_similarity(first: Tensor, second: Tensor) -> float:
    """SSIM (Wang et al. 2004) of each channel, averaged, as `compare_ssim` of scikit-image computes it by default.

    A uniform window of 7 x 7 pixels that lies inside the picture, and the unbiased covariance of a sample. The Gaussian
    window of that paper gives other numbers.

    Args:
        first: (C, H, W) uint8, H and W at least 7.
        second: the same.

    Returns:
        -1..1, 1 for equal pictures.

    Raises:
        ValueError: they are smaller.
    """
    height, width = first.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(f'SSIM needs pictures of at least {WINDOW} x {WINDOW} pixels, but got {width} x {height}')
    bands = range(0, height - WINDOW + 1, _ROWS)
    total = sum(
        float(_similarities(*(each[..., top : top + _ROWS + WINDOW - 1, :] for each in (first, second))).sum())
        for top in bands
    )
    return total / (first.shape[0] * (height - WINDOW + 1) * (width - WINDOW + 1))


def _similarities(first: Tensor, second: Tensor) -> Tensor:
    """The similarity in each window, (C, H - 6, W - 6) double."""

    def window_mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, WINDOW, stride=1)

    x, y = first.double(), second.double()
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mean_x, mean_y = window_mean(x), window_mean(y)
    variance_x = unbiased * (window_mean(x * x) - mean_x * mean_x)
    variance_y = unbiased * (window_mean(y * y) - mean_y * mean_y)
    covariance = unbiased * (window_mean(x * y) - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return luminance * structure


@METRICS.register_module()
class SSIM(PhotoMetric):
    """SSIM per channel of 8-bit RGB, averaged over channels, per pair."""

    name = 'SSIM'
    protocol = '8-bit RGB, per channel and averaged, 7 x 7 uniform window, sample covariance, data_range 255'

    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, float]:  # noqa: D102
        return {'SSIM': structural_similarity(truth, prediction)}
