"""Peak signal-to-noise ratio."""

from torch import Tensor

from insta_colorization.registry import METRICS

from .base import PhotoMetric


@METRICS.register_module()
class PSNR(PhotoMetric):
    """PSNR in dB over all pixels and channels of 8-bit RGB, per pair; equal pictures give 100 dB."""

    name = 'PSNR'
    protocol = 'dB, over all pixels and channels of 8-bit RGB, per picture; equal pictures count as 100 dB'

    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, float]:  # noqa: D102
        error = (truth.double() - prediction.double()).square().mean()
        return {'PSNR': float(10 * (255**2 / error).log10()) if error else 100.0}
