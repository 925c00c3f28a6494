"""The colorization trunk (Zhang et al. 2017, the paper's GComp, G and the trunk of GF) as one table and one traversal.

Shape legend: N images or crops, H, W the network's input size (multiples of 8).
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from insta_colorization.colorspace import NUM_AB_BINS
from insta_colorization.registry import MODELS

Features = dict[str, Tensor]
Fuse = Callable[[str, Tensor], Tensor]
Read = Callable[[Tensor], None]

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


class Colors(NamedTuple):
    """What a trunk returns.

    Attributes:
        ab: (N, 2, H, W) in network units, from the regression head; no channels where only features were asked for.
        class_logits: (N, 529, H/4, W/4) from the class head, or None when it was not asked for.
        features: {row: (N, width, H/stride, W/stride)} for the rows that were to be kept.
    """

    ab: Tensor
    class_logits: Tensor | None
    features: Features


def scaled_widths(width: float) -> dict[str, int]:
    """Channels of each row at a width factor (1.0 is the paper's 64..512); at least one channel each."""
    return {row.name: max(1, round(row.width * width)) for row in STAGES}


def network_input(
    lightness: Tensor,
    hint_ab: Tensor | None = None,
    hint_mask: Tensor | None = None,
    mask_centre: float = 0.5,
) -> Tensor:
    """Stacks the four input channels: lightness, the colour hints' a and b, the hint mask.

    Args:
        lightness: (N, 1, H, W) in network units.
        hint_ab: (N, 2, H, W) in network units, 0 where there is no hint; None for no hints.
        hint_mask: (N, 1, H, W) in 0..1, 1 where there is a hint; None for no hints.
        mask_centre: what is taken off the mask. The published weights were trained with 0.5, so without any hint the
            fourth channel is a constant -0.5; the `siggraph17` release of richzhang/colorization wants 0.

    Returns:
        (N, 4, H, W).
    """
    hint_ab = lightness.new_zeros(len(lightness), 2, *lightness.shape[-2:]) if hint_ab is None else hint_ab
    hint_mask = torch.zeros_like(lightness) if hint_mask is None else hint_mask
    return torch.cat([lightness, hint_ab, hint_mask - mask_centre], dim=1)


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
class ColorizationBackbone(BaseModule):
    """The colorization trunk: 13 rows, a regression head, a 529-way class head.

    Args:
        width: factor on the channels of every row; 1.0 is the published size.
        init_cfg: MMEngine's initialization settings.
    """

    def __init__(self, width: float = 1.0, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.width = width
        self.channels = scaled_widths(width)
        self.strides = {row.name: row.stride for row in STAGES}
        self.stages = nn.ModuleDict()
        in_channels, after_skip = INPUT_CHANNELS, False
        for row in STAGES:
            channels = self.channels[row.name]
            if row.skip:
                self.stages[row.name] = UpStage(in_channels, channels, self.channels[row.skip])
            else:
                normalize = row is not STAGES[-1]
                self.stages[row.name] = ConvStage(in_channels, channels, row.convs, row.dilation, after_skip, normalize)
            in_channels, after_skip = channels, bool(row.skip)
        self.class_head = nn.Conv2d(self.channels['conv8'], NUM_AB_BINS, 1)
        self.ab_head = nn.Sequential(nn.Conv2d(in_channels, 2, 1), nn.Tanh())

    def forward(
        self,
        x: Tensor,
        fuse: Fuse | None = None,
        classify: bool = False,
        keep: Collection[str] = STAGE_NAMES,
        read: Mapping[str, Read] | None = None,
    ) -> Colors:
        """Runs the trunk.

        Args:
            x: (N, 4, H, W) from `network_input`; H and W multiples of 8.
            fuse: called with each row's name and feature (N, C, H/stride, W/stride); what it returns goes on. Without
                gradients it may change the feature in place.
            classify: whether to run the class head.
            keep: the rows whose features are returned; the others' memory is free once no row needs them.
            read: {row: called with its feature} where features alone are asked for: no head runs, and no row after the
                last of these.

        Returns:
            `Colors` of the N inputs.

        Raises:
            ValueError: H or W is not a positive multiple of 8.
        """
        height, width = x.shape[-2:]
        if not height or not width or height % STRIDE or width % STRIDE:
            raise ValueError(f'the network takes sizes that are multiples of {STRIDE}, but got {height} x {width}')
        last = None if read is None else max(read, key=STAGE_NAMES.index)
        features: Features = {}
        skipped: Features = {}
        class_logits, stride = None, 1
        for row in STAGES:
            stage = self.stages[row.name]
            if row.stride > stride:
                x = x[:, :, ::2, ::2]
            x = stage(x, skipped.pop(row.skip)) if row.skip else stage(x)
            if fuse is not None:
                x = fuse(row.name, x)
            if row.skip:
                # The original stores its up-sampled features, then rectifies them in place. With gradients the fusion's
                # backward pass may need what is there.
                x = x.relu() if torch.is_grad_enabled() else x.relu_()
            if row.name in _SKIPPED:
                skipped[row.name] = x
            if row.name in keep:
                features[row.name] = x
            if read is not None and row.name in read:
                read[row.name](x)
            if row.name == last:
                return Colors(x[:, :0], None, features)
            if classify and row.name == 'conv8':
                class_logits = self.class_head(x)
            stride = row.stride
        return Colors(self.ab_head(x), class_logits, features)
