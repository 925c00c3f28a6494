"""Peak signal-to-noise ratio."""

from torch import Tensor

from insta_colorization.registry import METRICS

from .base import PhotoMetric


@METRICS.register_module()
class PSNR(PhotoMetric):
    """PSNR in dB over all pixels and channels of 8-bit RGB, per photo; equal photos give 100 dB."""

    default_prefix = 'PSNR'

    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, float]:  # noqa: D102
        error = (truth.double() - prediction.double()).square().mean()
        return {'dB': float(10 * (255**2 / error).log10()) if error else 100.0}
