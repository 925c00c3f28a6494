"""The network of Zhang, Isola, Efros: *Colorful Image Colorization*, ECCV 2016, as richzhang/colorization released it.

Shape legend: N images or crops, H, W the network's input size (multiples of 8), Q = 313 classes of colour.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from insta_colorization.colorspace import AB_BIN_WIDTH, AB_BINS_PER_AXIS, AB_RANGE, BinSet
from insta_colorization.models.backbones import Backbone, Colors, FeatureInfo, Stage
from insta_colorization.models.backbones.base import Visit
from insta_colorization.registry import MODELS

ROWS = (
    Stage('conv1', 64, stride=2, convs=2),
    Stage('conv2', 128, stride=4, convs=2),
    Stage('conv3', 256, stride=8, convs=3),
    Stage('conv4', 512, stride=8, convs=3),
    Stage('conv5', 512, stride=8, convs=3, dilation=2),
    Stage('conv6', 512, stride=8, convs=3, dilation=2),
    Stage('conv7', 512, stride=8, convs=3),
    Stage('up8', 256, stride=4),
    Stage('conv8', 256, stride=4, convs=2),
)

# The colours that occur inside sRGB, first and last b of each a in Lab units. No simple test of the gamut gives them.
_B_OF_A = {
    **{-90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100), -40: (-40, 100), -30: (-50, 100)},
    **{-20: (-50, 100), -10: (-60, 100), 0: (-70, 100), 10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90)},
    **{50: (-100, 80), 60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0)},
}


def _cells() -> Iterator[int]:
    first = int(AB_RANGE)
    for a, (low, high) in _B_OF_A.items():
        for b in range(low, high + 1, AB_BIN_WIDTH):
            yield (a + first) // AB_BIN_WIDTH * AB_BINS_PER_AXIS + (b + first) // AB_BIN_WIDTH


BINS = BinSet(list(_cells()))
_CLASSIFYING = ('AnnealedMeanDecoder', 'RebalancedClassLoss')


def of_313_classes(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a loss or decoder, which is then about these classes."""
    classifies = str(cfg.get('type')).rpartition('.')[-1] in _CLASSIFYING
    return {**cfg, 'bins': BINS} if classifies else dict(cfg)


@MODELS.register_module()
class Eccv16Network(Backbone):
    """Lightness to the mean colour of a distribution over 313 classes; no skips, no hints.

    Args:
        width: factor on the channels of every row; 1.0 is the published size.
        init_cfg: MMEngine's initialization settings.
    """

    size_divisor = 8
    class_row = 'conv8'
    bin_colours: Tensor

    def __init__(self, width: float = 1.0, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.width = width
        self.feature_info = {row.name: FeatureInfo(max(1, round(row.width * width)), row.stride) for row in ROWS}
        self.stages = nn.ModuleDict()
        inputs, stride, upsampled = 1, 1, False
        for row in ROWS:
            channels = self.feature_info[row.name].channels
            if row.convs:
                stage = _convs(row, inputs, channels, row.stride // stride, upsampled)
            else:
                stage = nn.Sequential(OrderedDict(up=nn.ConvTranspose2d(inputs, channels, 4, stride=2, padding=1)))
            self.stages[row.name] = stage
            inputs, stride, upsampled = channels, row.stride, not row.convs
        self.class_head = nn.Conv2d(inputs, len(BINS), 1)
        # In network units, as a convolution's weight; the released file has them.
        self.register_buffer('bin_colours', BINS.centres.T[:, :, None, None].clone())

    def rows(  # noqa: D102
        self, lightness: Tensor, hints: Tensor | None = None, visit: Visit | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        self.check_size(lightness)
        x = lightness
        for row in ROWS:
            x = self.stages[row.name](x)
            if visit is not None:
                x = visit(row.name, x)
            yield row.name, x

    def forward(
        self, lightness: Tensor, hints: Tensor | None = None, visit: Visit | None = None, classify: bool = False
    ) -> Colors:
        """See `Backbone.forward`; ab is the classes' mean, without a temperature: the released weights have it inside.

        The published code multiplies by 110 what here is in network units.
        """
        for name, feature in self.rows(lightness, hints, visit):
            if name == self.class_row:
                logits = self.class_head(feature)
        mean = F.conv2d(logits.softmax(dim=1), self.bin_colours.to(logits.dtype))
        ab = F.interpolate(mean, size=lightness.shape[-2:], mode='bilinear', align_corners=False)
        return Colors(ab, logits if classify else None)


def _convs(row: Stage, inputs: int, channels: int, stride: int, upsampled: bool) -> nn.Sequential:
    """3x3 convolutions, the last one with the stride, each followed by ReLU; one batch norm closes the row.

    A row that reads an upsampled feature rectifies it first and has no batch norm. The numbers of layers name weights.
    """
    layers: list[nn.Module] = [nn.ReLU()] if upsampled else []
    for step in [*[1] * (row.convs - 1), stride]:
        layers += [nn.Conv2d(inputs, channels, 3, step, padding=row.dilation, dilation=row.dilation)]
        layers += [nn.ReLU(inplace=True)]
        inputs = channels
    return nn.Sequential(*layers, *([] if upsampled else [nn.BatchNorm2d(channels)]))
