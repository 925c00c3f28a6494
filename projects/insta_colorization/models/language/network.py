"""The network of L-CoIns (Chang et al., CVPR 2023): a transformer over patches of lightness and words of a caption.

Written from a description of the published code; names of parameters are those of its parts. Shape legend: N photos, S
the input size, T patches of 16 x 16 pixels, W words, E and D the widths of encoder and decoder.
"""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from insta_colorization.models.patch.network import BINS
from insta_colorization.registry import MODELS

from .blocks import Block, layer_norm, usual_heads
from .grouping import Grouping, Groups

PATCH = 16
# The grid of patches that the positions are learned for.
GRID = 14
WORD_CHANNELS = 768
_PATCH_KIND, _WORD_KIND = 0, 1
_UPSAMPLED = 512


class LanguageColors(NamedTuple):
    """What the network makes of a photo and its caption.

    Attributes:
        ab: (N, 2, S, S) in network units.
        class_logits: (N, 313, S, S), or None when it was not asked for.
        groups: the groups of patches, or None.
    """

    ab: Tensor
    class_logits: Tensor | None = None
    groups: Groups | None = None


def _up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1))


class Upsampler(nn.Module):
    """From features of patches to ab and classes of pixels, in four steps of two."""

    def __init__(self) -> None:
        super().__init__()
        self.up1, self.c1 = _up(_UPSAMPLED, 256), _conv(256, 256)
        self.up2, self.c2 = _up(256, 128), _conv(128, 128)
        self.up3, self.c3 = _up(128, 64), _conv(64, 64)
        self.up4, self.c4 = _up(64, 32), _conv(32, 2)
        self.up3_classify, self.c3_classify = _up(128, 128), _conv(128, 128)
        self.up4_classify, self.c4_classify = _up(128, 128), _conv(128, 128)
        self.classifier = nn.Linear(128, len(BINS))

    def forward(self, x: Tensor, classify: bool = False) -> tuple[Tensor, Tensor | None]:
        """Features (N, 512, S/16, S/16) to ab (N, 2, S, S) and, where asked for, class logits (N, 313, S, S)."""
        shared = _step(_step(x, self.up1, self.c1), self.up2, self.c2)
        fine = _step(shared, self.up3, self.c3)
        ab = self.c4(self.up4(fine).relu()).tanh()
        if not classify:
            return ab, None
        x = _step(_step(shared, self.up3_classify, self.c3_classify), self.up4_classify, self.c4_classify)
        return ab, self.classifier(x.movedim(1, -1)).movedim(-1, 1)


def _step(x: Tensor, up: nn.Module, conv: nn.Module) -> Tensor:
    return F.instance_norm(conv(up(x).relu())).relu()


@MODELS.register_module()
class LanguageNetwork(BaseModule):
    """Lightness and words to colours.

    Args:
        encoder_width: E, 768 as published.
        encoder_depth: blocks of the encoder, 12 as published.
        encoder_heads: a divisor of E; None for heads of 64 channels.
        decoder_width: D, 1024 as published.
        decoder_depth: blocks of the decoder, 12 as published.
        decoder_heads: a divisor of D; None for heads of 64 channels.
        groups: how many groups patches are sorted into.
        drop_path: in training the last block of each stack is left out for this share of the photos, the others for
            less the earlier they come; 0.1 as published.
        init_cfg: MMEngine's initialization settings.

    Raises:
        ValueError: heads do not divide their width, or the share lies outside [0, 1).
    """

    size_divisor = PATCH

    def __init__(
        self,
        encoder_width: int = 768,
        encoder_depth: int = 12,
        encoder_heads: int | None = None,
        decoder_width: int = 1024,
        decoder_depth: int = 12,
        decoder_heads: int | None = None,
        groups: int = 15,
        drop_path: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not 0 <= drop_path < 1:
            raise ValueError(f'drop_path must be a share in [0, 1), but got {drop_path}')
        heads = encoder_heads or usual_heads(encoder_width), decoder_heads or usual_heads(decoder_width)
        self.patches = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, encoder_width, PATCH, stride=PATCH)))
        # Row 0 is the class token's of the network that it begins as, and never read; so is row 2 of the kinds.
        self.positions = nn.Parameter(0.02 * torch.randn(1, GRID**2 + 1, encoder_width))
        rates = np.linspace(0, drop_path, encoder_depth).tolist()
        self.encoder = nn.ModuleList(Block(encoder_width, heads[0], drop_path=rate) for rate in rates)
        self.encoder_norm = layer_norm(encoder_width)
        self.bridge = nn.Linear(encoder_width, decoder_width, bias=False)
        self.caption_projection = nn.Linear(WORD_CHANNELS, decoder_width)
        self.kinds = nn.Parameter(0.02 * torch.randn(3, decoder_width))
        self.group_tokens = nn.Parameter(0.02 * torch.randn(1, groups, decoder_width))
        rates = np.linspace(0, drop_path, decoder_depth).tolist()
        self.decoder = nn.ModuleList(Block(decoder_width, heads[1], split_bias=True, drop_path=rate) for rate in rates)
        self.decoder_norm = layer_norm(decoder_width)
        self.head = nn.Linear(decoder_width, _UPSAMPLED)
        self.upsampler = Upsampler()
        self.grouping = Grouping(decoder_width, groups, heads[1], PATCH)

    def forward(self, lightness: Tensor, words: Tensor, classify: bool = False, group: bool = False) -> LanguageColors:
        """Colours a batch.

        Args:
            lightness: (N, 1, S, S) in network units.
            words: (N, W, 768), what the text encoder makes of the captions.
            classify: whether to make class logits.
            group: whether to sort patches into groups, which changes no colour.
        """
        height, width = (side // PATCH for side in lightness.shape[-2:])
        # The published lightness is (L - 50) / 50.
        x = self.patches((2 * lightness).expand(-1, 3, -1, -1)).flatten(2).transpose(1, 2)
        x = x + self._positions_of(height, width)
        for block in self.encoder:
            x = block(x)
        patches = self.bridge(self.encoder_norm(x)) + self.kinds[_PATCH_KIND]
        said = self.caption_projection(words).relu() + self.kinds[_WORD_KIND]
        tokens = self.group_tokens.expand(len(x), -1, -1)
        parts = [patches, said, tokens]
        x = torch.cat(parts, dim=1)
        for block in self.decoder:
            x = block(x)
        patches, _, tokens = x.split([part.shape[1] for part in parts], dim=1)
        features = self.head(self.decoder_norm(patches)).transpose(1, 2).unflatten(2, (height, width))
        ab, logits = self.upsampler(features, classify)
        return LanguageColors(ab, logits, self.grouping(patches, tokens, width) if group else None)

    def layer_of(self, name: str) -> int:
        """How many blocks of the encoder lie behind an entry: 0 for what makes its input, depth + 1 after its end."""
        stack, _, rest = name.partition('.')
        if stack in ('patches', 'positions'):
            return 0
        return int(rest.partition('.')[0]) + 1 if stack == 'encoder' else len(self.encoder) + 1

    def _positions_of(self, height: int, width: int) -> Tensor:
        """(1, T, E), resized where the grid is not that of training."""
        positions = self.positions[:, 1:]
        if (height, width) == (GRID, GRID):
            return positions
        grid = positions.transpose(1, 2).unflatten(2, (GRID, GRID))
        return F.interpolate(grid, (height, width), mode='bicubic', align_corners=False).flatten(2).transpose(1, 2)
