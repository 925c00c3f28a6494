"""Learned perceptual image patch similarity."""

import warnings

import torch
from torch import Tensor, nn

from insta_colorization.registry import METRICS

from .base import NotComputableError
from .pretrained import NetworkMetric, pretrained_file


@METRICS.register_module()
class LPIPS(NetworkMetric):
    """LPIPS (Zhang et al. 2018) by its authors' package, version 0.1 with VGG as in the paper; less is better.

    The package brings its own linear layers; the weights of VGG16 are torchvision's.
    """

    name = 'LPIPS'
    protocol = 'lpips, v0.1, VGG16 of torchvision (vgg16-397923af.pth), RGB in [-1, 1] at the size of the picture'

    def load(self) -> nn.Module:  # noqa: D102
        try:
            import lpips
            from torchvision.models import VGG16_Weights
        except ImportError as error:
            raise NotComputableError(f'{error}: pip install lpips torchvision') from error
        pretrained_file(VGG16_Weights.IMAGENET1K_V1.url)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # it asks torchvision for the weights in an old way
            return lpips.LPIPS(net='vgg', version='0.1', verbose=False)

    @torch.no_grad()
    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, float]:  # noqa: D102
        network = self.network
        pair = torch.stack([truth, prediction]).to(self.device).float() / 127.5 - 1
        return {'LPIPS': float(network(pair[:1], pair[1:]))}
