"""From a trunk's outputs to one ab per pixel: the regression head as it is, or the class head's annealed mean."""

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from insta_colorization.colorspace import AB_RANGE, BinSet
from insta_colorization.registry import MODELS
from insta_colorization.utils.ranges import positive

# {name on the command line: (type, what may stand behind a colon)}
_NAMES = {'regression': ('RegressionDecoder', 'gain'), 'annealed-mean': ('AnnealedMeanDecoder', 'temperature')}

# The chroma in Lab units at which `RegressionDecoder`'s gain is what it says, and up to how many times that it grows.
_FULL_CHROMA, _MOST_CHROMA = 20.0, 1.5
# The preset of weights that have it and of which nothing else is asked.
DEFAULT_PRESET = 'natural'


@MODELS.register_module()
class RegressionDecoder(nn.Module):
    """The regression head's ab, as in the paper.

    Args:
        gain: factor on it. The mean of all colours that a thing may have is paler than any of them; a gain above 1
            gives some of the colour back, at a cost in PSNR.
        expansion: gives more of it to strong colours, of which the network is sure, than to weak ones: the gain counts
            as it is at a chroma of 20 Lab units, elsewhere times (chroma / 20) to this power, at most 1.5 to it.

    Raises:
        ValueError: the gain is not positive and finite, or the expansion is negative or not finite.
    """

    classify = False

    def __init__(self, gain: float = 1.0, expansion: float = 0.0) -> None:
        super().__init__()
        if not 0 <= expansion < math.inf:
            raise ValueError(f'expansion must be at least 0 and finite, but got {expansion}')
        self.gain = positive('gain', gain)
        self.expansion = expansion

    def forward(self, ab: Tensor, class_logits: Tensor | None) -> Tensor:
        """ab (N, 2, H, W) in network units -> the same, with more colour."""
        if self.expansion:
            chroma = ab.norm(dim=1, keepdim=True) * (AB_RANGE / _FULL_CHROMA)
            ab = ab * chroma.clamp(max=_MOST_CHROMA) ** self.expansion
        return ab if self.gain == 1 else ab * self.gain

    def describe(self) -> str:
        """What a protocol says about it."""
        expansion = f', expansion {self.expansion:g}' if self.expansion else ''
        return f'{type(self).__name__}, gain {self.gain:g}{expansion}'

    def title(self) -> str:
        """What a line of text calls it."""
        expansion = f', strong colours by a power of {self.expansion:g} more' if self.expansion else ''
        gain = f'times {self.gain:g}{expansion}' if self.gain != 1 or expansion else ''
        return 'the regression head' + (f' ({gain})' if gain else '')


@MODELS.register_module()
class AnnealedMeanDecoder(nn.Module):
    """The class head's annealed mean (Zhang et al. 2016, Eq. 5): more colour than regression, at a quarter of the size.

    Args:
        temperature: 1 is the mean of the distribution (pale), towards 0 its mode (vivid, less even).
        bins: the classes; None for all 529.

    Raises:
        ValueError: the temperature is not positive and finite.
    """

    classify = True
    centres: Tensor

    def __init__(self, temperature: float = 0.38, bins: BinSet | None = None) -> None:
        super().__init__()
        self.temperature = positive('temperature', temperature)
        self.register_buffer('centres', (bins or BinSet()).centres, persistent=False)

    def forward(self, ab: Tensor, class_logits: Tensor | None) -> Tensor:
        """ab (N, 2, H, W), class_logits (N, 529, H/4, W/4) -> (N, 2, H, W) in network units."""
        if class_logits is None:
            raise ValueError('the annealed mean needs class logits, but the class head did not run')
        shares = (class_logits.float() / self.temperature).softmax(dim=1)
        mean = F.conv2d(shares, self.centres.T[:, :, None, None])
        return F.interpolate(mean, size=ab.shape[-2:], mode='bilinear', align_corners=False)

    def describe(self) -> str:
        """What a protocol says about it."""
        return f'{type(self).__name__}, temperature {self.temperature:g}'

    def title(self) -> str:
        """What a line of text calls it."""
        return f'the annealed mean (T = {self.temperature:g})'


def parse_decoder(text: str) -> dict[str, Any]:
    """The config of a decoder from `regression[:GAIN]` or `annealed-mean[:TEMPERATURE]`.

    Raises:
        ValueError: it is neither, or its number is not positive and finite.
    """
    name, _, number = text.partition(':')
    try:
        kind, setting = _NAMES[name]
        value = float(number) if number else None
    except (KeyError, ValueError):
        raise ValueError(
            f"the decoder must be 'regression[:1.1]' or 'annealed-mean[:0.38]', but got {text!r}"
        ) from None
    return {'type': kind} if value is None else {'type': kind, setting: positive(setting, value)}


def default_decoder(decoder: Mapping[str, Any] | None, presets: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config of the decoder where the user chooses none.

    Args:
        decoder: what a config says.
        presets: {name: config of a decoder}, what a config offers.

    Returns:
        The first, else the preset `natural`, else the paper's: the regression head.
    """
    return dict(decoder or (presets or {}).get(DEFAULT_PRESET) or {'type': 'RegressionDecoder'})
