"""The colorization trunk (Zhang et al. 2017, the paper's GComp, G and the trunk of GF) as one table and one traversal.

Shape legend: N images or crops, H, W the network's input size (multiples of 8).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from insta_colorization.colorspace import NUM_AB_BINS
from insta_colorization.registry import MODELS

from .base import Backbone, FeatureInfo, Visit

INPUT_CHANNELS = 4
STRIDE = 8


class Stage(NamedTuple):
    """A row of the network. Rows with `skip` upsample and add that feature; the others convolve."""

    name: str
    width: int
    stride: int  # of its output, relative to the input
    convs: int = 0
    dilation: int = 1
    skip: str | None = None


STAGES = (
    Stage('conv1', 64, stride=1, convs=2),
    Stage('conv2', 128, stride=2, convs=2),
    Stage('conv3', 256, stride=4, convs=3),
    Stage('conv4', 512, stride=8, convs=3),
    Stage('conv5', 512, stride=8, convs=3, dilation=2),
    Stage('conv6', 512, stride=8, convs=3, dilation=2),
    Stage('conv7', 512, stride=8, convs=3),
    Stage('up8', 256, stride=4, skip='conv3'),
    Stage('conv8', 256, stride=4, convs=2),
    Stage('up9', 128, stride=2, skip='conv2'),
    Stage('conv9', 128, stride=2, convs=1),
    Stage('up10', 128, stride=1, skip='conv1'),
    Stage('conv10', 128, stride=1, convs=1),
)
STAGE_NAMES = tuple(row.name for row in STAGES)
_SKIPPED = {row.skip for row in STAGES if row.skip}


def scaled_widths(width: float) -> dict[str, int]:
    """Channels of each row at a width factor (1.0 is the paper's 64..512); at least one channel each."""
    return {row.name: max(1, round(row.width * width)) for row in STAGES}


def network_input(lightness: Tensor, hints: Tensor | None = None, mask_centre: float = 0.5) -> Tensor:
    """Stacks the four input channels: lightness, the colour hints' a and b, the hint mask.

    Args:
        lightness: (N, 1, H, W) in network units.
        hints: (N, 3, H, W): a and b in network units, 0 where there is no hint, and the mask in 0..1, 1 where there is
            one; None for no hints.
        mask_centre: what is taken off the mask. The published weights were trained with 0.5, so without any hint the
            fourth channel is a constant -0.5; the `siggraph17` release of richzhang/colorization wants 0.

    Returns:
        (N, 4, H, W).
    """
    if hints is None:
        hints = lightness.new_zeros(len(lightness), 3, *lightness.shape[-2:])
    return torch.cat([lightness, hints[:, :2], hints[:, 2:] - mask_centre], dim=1)


class ConvStage(nn.Sequential):
    """3x3 convolutions, each followed by ReLU, closed by one batch norm.

    Args:
        after_skip: the row reads an up-sampled sum. The original rectifies it by a first layer of the row, and the
            layer numbers, which name the weights, count it. Here the traversal does so, since it stores the result.
        normalize: `conv10` has no batch norm and ends in LeakyReLU(0.2) instead of ReLU.
    """

    def __init__(
        self, in_channels: int, channels: int, convs: int, dilation: int, after_skip: bool, normalize: bool = True
    ) -> None:
        layers: list[nn.Module] = [nn.ReLU()] if after_skip else []
        for index in range(convs):
            layers.append(
                nn.Conv2d(channels if index else in_channels, channels, 3, padding=dilation, dilation=dilation)
            )
            layers.append(nn.ReLU(inplace=True) if normalize else nn.LeakyReLU(0.2, inplace=True))
        if normalize:
            layers.append(nn.BatchNorm2d(channels))
        super().__init__(*layers)
        self.first = int(after_skip)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in, H, W), rectified if it is an up-sampled sum -> (N, channels, H, W)."""
        for layer in list(self)[self.first :]:
            x = layer(x)
        return x


class UpStage(nn.Module):
    """Doubles the size by a transposed convolution and adds a 3x3 convolution of the skipped feature."""

    def __init__(self, in_channels: int, channels: int, skip_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, channels, 4, stride=2, padding=1)
        self.skip = nn.Conv2d(skip_channels, channels, 3, padding=1)

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        """x (N, in, h, w), skipped (N, skip, 2h, 2w) -> (N, channels, 2h, 2w), not rectified."""
        return self.up(x).add_(self.skip(skipped))


@MODELS.register_module()
class ColorizationBackbone(Backbone):
    """The colorization trunk: 13 rows, a regression head, a 529-way class head.

    Args:
        width: factor on the channels of every row; 1.0 is the published size.
        mask_centre: see `network_input`.
        init_cfg: MMEngine's initialization settings.
    """

    size_divisor = STRIDE
    class_row = 'conv8'

    def __init__(self, width: float = 1.0, mask_centre: float = 0.5, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.width = width
        self.mask_centre = mask_centre
        channels = scaled_widths(width)
        self.feature_info = {row.name: FeatureInfo(channels[row.name], row.stride) for row in STAGES}
        self.stages = nn.ModuleDict()
        inputs, after_skip = INPUT_CHANNELS, False
        for row in STAGES:
            if row.skip:
                stage: nn.Module = UpStage(inputs, channels[row.name], channels[row.skip])
            else:
                normalize = row is not STAGES[-1]
                stage = ConvStage(inputs, channels[row.name], row.convs, row.dilation, after_skip, normalize)
            self.stages[row.name] = stage
            inputs, after_skip = channels[row.name], bool(row.skip)
        self.class_head = nn.Conv2d(channels[self.class_row], NUM_AB_BINS, 1)
        self.ab_head = nn.Sequential(nn.Conv2d(inputs, 2, 1), nn.Tanh())

    def rows(  # noqa: D102
        self, lightness: Tensor, hints: Tensor | None = None, visit: Visit | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        self.check_size(lightness)
        x = network_input(lightness, hints, self.mask_centre)
        skipped: dict[str, Tensor] = {}
        stride = 1
        for row in STAGES:
            stage = self.stages[row.name]
            if row.stride > stride:
                x = x[:, :, ::2, ::2]
            x = stage(x, skipped.pop(row.skip)) if row.skip else stage(x)
            if visit is not None:
                x = visit(row.name, x)
            if row.skip:
                # The original stores its up-sampled features, then rectifies them in place; its fusion comes before.
                # With gradients the fusion's backward pass may need what is there.
                x = x.relu() if torch.is_grad_enabled() else x.relu_()
            if row.name in _SKIPPED:
                skipped[row.name] = x
            yield row.name, x
            stride = row.stride
