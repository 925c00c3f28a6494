"""GridNet, which gives each pixel of a grey photo one of 60 classes.

Shape legend: N photos, H, W the network's input size (multiples of 16), K classes.
"""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from insta_colorization.models.backbones.base import check_size
from insta_colorization.registry import MODELS
from insta_colorization.structures import NUM_CLASSES

ROWS = 5
# Columns 0..2 go down the grid, columns 3..5 up.
DOWN_COLUMNS, COLUMNS = 3, 6
STEM_CHANNELS = 16


class _ConvsFirst(nn.Module):
    """Twice a 3x3 convolution, its batch norm and ReLU; the last ReLU may lack."""

    def __init__(self, inputs: int, channels: int, last_relu: bool = True) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, channels), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.last_relu = last_relu

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        x = self.norm2(self.conv2(x))
        return F.relu(x) if self.last_relu else x


class _NormsFirst(nn.Module):
    """Twice a batch norm, ReLU and a convolution, of which the first one may change the size."""

    def __init__(self, inputs: int, channels: int, first: nn.Module) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), first
        self.norm2, self.conv2 = nn.BatchNorm2d(channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(F.relu(self.norm1(x)))
        return self.conv2(F.relu(self.norm2(x)))


def _conv(inputs: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)


def _upsampling(inputs: int, channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, channels, 3, stride=2, padding=1, output_padding=1, bias=False)


@MODELS.register_module()
class GridSegmenter(BaseModule):
    """GridNet (Fourure et al. 2017) of five rows, each of half the size of the one above, and six columns.

    Features flow along the rows by residual blocks, down the grid in the first half of its columns and up in the other.
    The names of its blocks are those of the place where they end, `<row>_<column>`.

    Args:
        width: factor on the channels; 1.0 is the published size.
        init_cfg: MMEngine's initialization settings.
    """

    size_divisor = 2 ** (ROWS - 1)

    def __init__(self, width: float = 1.0, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.width = width
        channels = [max(1, round(STEM_CHANNELS * 2**row * width)) for row in range(ROWS)]
        self.input_norm = nn.BatchNorm2d(1)
        self.stem = _ConvsFirst(1, channels[0])
        self.lateral, self.down, self.up = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for row, own in enumerate(channels):
            for column in range(COLUMNS):
                place = f'{row}_{column}'
                if column:
                    self.lateral[place] = _NormsFirst(own, own, _conv(own, own))
                if column < DOWN_COLUMNS and row:
                    above = channels[row - 1]
                    self.down[place] = _NormsFirst(above, own, _conv(above, own, stride=2))
                if column >= DOWN_COLUMNS and row < ROWS - 1:
                    below = channels[row + 1]
                    self.up[place] = _NormsFirst(below, own, _upsampling(below, own))
        self.head = _ConvsFirst(channels[0], NUM_CLASSES, last_relu=False)

    def forward(self, gray: Tensor) -> Tensor:
        """Grey (N, 1, H, W), sRGB in 0..1 -> logits (N, K, H, W).

        Raises:
            ValueError: H or W is not a positive multiple of 16.
        """
        check_size(gray, self.size_divisor)
        x = self.stem(self.input_norm(gray))
        features = [x]
        for row in range(1, ROWS):
            features.append(self.down[f'{row}_0'](features[-1]))
        for column in range(1, COLUMNS):
            goes_down = column < DOWN_COLUMNS
            order, steps = (range(ROWS), self.down) if goes_down else (reversed(range(ROWS)), self.up)
            for row in order:
                place = f'{row}_{column}'
                x = features[row]
                x = x + self.lateral[place](x)
                features[row] = x + steps[place](features[row + (-1 if goes_down else 1)]) if place in steps else x
        return self.head(features[0])
