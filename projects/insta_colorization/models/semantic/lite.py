"""Segmenter and colour network on the light encoder, whose pretrained features do most of the work.

Shape legend: N photos, H, W the network's input size (multiples of 32), K classes.
"""

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from insta_colorization.colorspace import to_signed
from insta_colorization.models.backbones.base import check_size
from insta_colorization.models.backbones.lite import ENCODER, LiteUNet, ab_head
from insta_colorization.registry import MODELS
from insta_colorization.structures import NUM_CLASSES

_SKIPS = ('enc4', 'enc8', 'enc16', 'enc32')
_STRIDES = tuple(ENCODER[name].stride for name in _SKIPS)


@MODELS.register_module()
class LiteSegmenter(LiteUNet):
    """The class of each pixel of a grey photo, by the light encoder and decoder.

    Args:
        width: factor on the channels of the decoder.
        weights: colour weights on the light backbone that it begins with, see `LiteUNet.start_from`.
        encoder: config of the encoder.
        init_cfg: MMEngine's initialization settings.
    """

    def __init__(
        self,
        width: float = 1.0,
        weights: str | Path | None = None,
        encoder: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(width, 0, encoder, init_cfg)
        self.head = nn.Conv2d(self.decoded['up4'].channels, NUM_CLASSES, 1)
        if weights is not None:
            self.start_from(weights)

    def forward(self, gray: Tensor) -> Tensor:
        """Grey (N, 1, H, W), sRGB in 0..1 -> logits (N, K, H / 4, W / 4).

        Raises:
            ValueError: H or W is not a positive multiple of 32.
        """
        check_size(gray, self.size_divisor)
        features = dict(self.encoder(gray))
        *_, (_, x) = self.decode(features, self.scene_of(features['enc32']))
        return self.head(x)


@MODELS.register_module()
class LiteColorNet(LiteUNet):
    """Colours from a grey photo and the class of each pixel, by the light encoder and decoder.

    Each class has a learned code; the decoder takes the mean code of each of its cells.

    Args:
        width: factor on the channels of the decoder.
        codes: numbers in a code.
        weights: colour weights on the light backbone that it begins with, see `LiteUNet.start_from`.
        encoder: config of the encoder.
        init_cfg: MMEngine's initialization settings.
    """

    # How far a pixel of the map reaches, in pixels: one at the edge of its cell of 32.
    reach = 113

    def __init__(
        self,
        width: float = 1.0,
        codes: int = 16,
        weights: str | Path | None = None,
        encoder: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(width, codes, encoder, init_cfg)
        self.map_code = nn.Embedding(NUM_CLASSES, codes)
        self.ab_head = ab_head(self.decoded['up4'].channels)
        if weights is not None:
            self.start_from(weights)

    def forward(self, gray: Tensor, ids: Tensor) -> Tensor:
        """Runs the encoder and the decoder.

        Args:
            gray: (N, 1, H, W), sRGB in 0..1.
            ids: (N, H, W) integers, classes 0..59.

        Returns:
            (N, 2, H, W), a and b in the scale of `colorspace.from_signed`.

        Raises:
            ValueError: H or W is not a positive multiple of 32.
        """
        return self.join(self.see(gray), self.read(ids))

    def see(self, gray: Tensor) -> list[Tensor]:
        """What photos (N, 1, H, W) in 0..1 give, from the finest; an edit of the map leaves it."""
        check_size(gray, self.size_divisor)
        features = dict(self.encoder(gray))
        coarsest = features['enc32']
        return [*(features[name] for name in _SKIPS), self.scene_of(coarsest).expand(-1, -1, *coarsest.shape[-2:])]

    def read(self, ids: Tensor) -> list[Tensor]:
        """The codes of maps (N, H, W) on the decoder's grids, from the finest."""
        codes = self.map_code(ids.long()).movedim(-1, 1)
        return [F.avg_pool2d(codes, stride) for stride in _STRIDES]

    def join(self, photo: Sequence[Tensor], map_codes: Sequence[Tensor]) -> Tensor:
        """The decoder: features of the photo and codes of the map -> (N, 2, H, W), see `forward`."""
        *skips, scene = photo
        codes = dict(zip(_STRIDES, map_codes, strict=True))
        *_, (_, x) = self.decode(dict(zip(_SKIPS, skips, strict=True)), scene, codes.__getitem__)
        ab = self.ab_head(x)
        return to_signed(F.interpolate(ab, scale_factor=_STRIDES[0], mode='bilinear', align_corners=False))
