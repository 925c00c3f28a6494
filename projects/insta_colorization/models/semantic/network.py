"""The colour network: grey photo and class map go through one encoder, their features through one decoder.

Shape legend: N photos, H, W the network's input size (multiples of 32).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from insta_colorization.models.backbones.base import check_size
from insta_colorization.registry import MODELS
from insta_colorization.structures import NUM_CLASSES

ENCODER = (32, 64, 128, 256, 512, 512)
_SLOPE = 0.1


class _Block(nn.Module):
    """Two 3x3 convolutions, each with LeakyReLU; the first one strides or, in the decoder, is transposed."""

    def __init__(self, first: nn.Module, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = first, _conv(channels, channels)

    def forward(self, x: Tensor, skip: Tensor | None = None, first: nn.Module | None = None) -> Tensor:
        """Adds the skip, if any, between the two; `first` takes the first one's place."""
        x = _activate((first or self.conv1)(x))
        return _activate(self.conv2(x if skip is None else x + skip))


def _conv(inputs: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


@MODELS.register_module()
class SemanticColorNet(BaseModule):
    """Colours from a grey photo and the class of each pixel.

    Only the skips of the photo are normalized, each channel by its own mean and variance; the stream itself is not.

    Args:
        width: factor on the channels; 1.0 is the published size.
        one_hot: whether the map has a first convolution of its own, from 60 channels of 0 or 1. As published the number
            of a class is a brightness, and the map goes through the photo's own first convolution.
        init_cfg: MMEngine's initialization settings.
    """

    size_divisor = 2 ** (len(ENCODER) - 1)
    # How far a pixel of the map reaches, in pixels.
    reach = 158

    def __init__(self, width: float = 1.0, one_hot: bool = False, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.width = width
        self.one_hot = one_hot
        encoder = [max(1, round(channels * width)) for channels in ENCODER]
        # A block of the decoder adds the skips of photo and map, one beside the other.
        decoder = [2 * channels for channels in reversed(encoder[:-1])]
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        inputs = 1
        for number, channels in enumerate(encoder, 1):
            self.enc[str(number)] = _Block(_conv(inputs, channels, 1 if number == 1 else 2), channels)
            inputs = channels
        inputs *= 2
        for number, channels in enumerate(decoder, 1):
            first = nn.ConvTranspose2d(inputs, channels, 3, stride=2, padding=1, output_padding=1, bias=False)
            self.dec[str(number)] = _Block(first, channels)
            inputs = channels
        self.ab_head = _conv(inputs, 2)
        if one_hot:
            self.map_conv = _conv(NUM_CLASSES, encoder[0])

    def forward(self, gray: Tensor, ids: Tensor) -> Tensor:
        """Runs both streams and the decoder.

        Args:
            gray: (N, 1, H, W), sRGB in 0..1.
            ids: (N, H, W) integers, classes 0..59.

        Returns:
            (N, 2, H, W), a and b in the scale of `colorspace.from_signed`; it has no upper bound.

        Raises:
            ValueError: H or W is not a positive multiple of 32.
        """
        return self.join(self.see(gray), self.read(ids))

    def see(self, gray: Tensor) -> list[Tensor]:
        """The normalized skips of photos (N, 1, H, W) in 0..1, from the finest; an edit of the map leaves them."""
        return [F.instance_norm(skip, eps=1e-5) for skip in self._encode((gray - 0.5) / 0.5)]

    def read(self, ids: Tensor) -> list[Tensor]:
        """The skips of maps (N, H, W), from the finest."""
        if self.one_hot:
            return self._encode(self._one_hot(ids), self.map_conv)
        return self._encode((ids[:, None].to(self.ab_head.weight.dtype) / (NUM_CLASSES - 1) - 0.5) / 0.5)

    def join(self, photo: Sequence[Tensor], map_skips: Sequence[Tensor]) -> Tensor:
        """The decoder: skips of photo and map -> (N, 2, H, W), see `forward`."""
        skips = [torch.cat(pair, dim=1) for pair in zip(photo, map_skips, strict=True)]
        x = skips.pop()
        for block in self.dec.values():
            x = block(x, skips.pop())
        return _activate(self.ab_head(x))

    def _encode(self, x: Tensor, first: nn.Module | None = None) -> list[Tensor]:
        check_size(x, self.size_divisor)
        skips = []
        for block in self.enc.values():
            x, first = block(x, first=first), None
            skips.append(x)
        return skips

    def _one_hot(self, ids: Tensor) -> Tensor:
        planes = torch.zeros(len(ids), NUM_CLASSES, *ids.shape[-2:], device=ids.device, dtype=self.ab_head.weight.dtype)
        return planes.scatter_(1, ids[:, None].long(), 1.0)
