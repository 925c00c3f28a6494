"""Colourfulness."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from insta_colorization.registry import METRICS

from .base import PhotoMetric


def colorfulness(rgb: Tensor) -> float:
    """Hasler and Suesstrunk's M3 of an 8-bit RGB photo (3, H, W): 0 is grey, 15 slightly, 33 moderately colourful."""
    red, green, blue = rgb.double()
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = (red_green.var(correction=0) + yellow_blue.var(correction=0)).sqrt()
    offset = (red_green.mean().square() + yellow_blue.mean().square()).sqrt()
    return float(spread + 0.3 * offset)


@METRICS.register_module()
class Colorfulness(PhotoMetric):
    """Colourfulness CF of prediction and truth, and how far they are apart (delta CF) in both definitions in use."""

    name = 'CF'
    protocol = (
        'Hasler and Suesstrunk 2003, M3; dCF_mean_of_differences is the mean of |CF - CF_truth| over pictures, '
        'dCF_difference_of_means is |mean CF - mean CF_truth|'
    )

    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, float]:  # noqa: D102
        return {'CF': colorfulness(prediction), 'CF_truth': colorfulness(truth)}

    def summarize(self, values: Sequence[dict[str, float]]) -> dict[str, float]:  # noqa: D102
        prediction, truth = (np.array([value[name] for value in values]) for name in ('CF', 'CF_truth'))
        return {
            'CF': float(prediction.mean()),
            'CF_truth': float(truth.mean()),
            'dCF_mean_of_differences': float(np.abs(prediction - truth).mean()),
            'dCF_difference_of_means': float(abs(prediction.mean() - truth.mean())),
        }
