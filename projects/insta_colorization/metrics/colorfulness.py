"""Colourfulness."""

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
    """Colourfulness of the prediction and of the truth, per photo."""

    default_prefix = 'CF'

    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, float]:  # noqa: D102
        return {'prediction': colorfulness(prediction), 'truth': colorfulness(truth)}
