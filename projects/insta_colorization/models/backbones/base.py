"""What every backbone keeps to, so that colorizers and the fusion need not know which one they have.

Shape legend: N images or crops, H, W the network's input size, multiples of `size_divisor`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

HINT_CHANNELS = 3
Visit = Callable[[str, Tensor], Tensor]


class FeatureInfo(NamedTuple):
    """What a row's feature is like before anything runs."""

    channels: int
    stride: int


class Colors(NamedTuple):
    """What a network makes of lightness.

    Attributes:
        ab: (N, 2, H, W) in network units, from the regression head.
        class_logits: (N, bins, H/s, W/s) from the class head, or None when it was not asked for.
    """

    ab: Tensor
    class_logits: Tensor | None = None


class Backbone(BaseModule):
    """A network of named rows with a regression head and a class head.

    A subclass sets the attributes below and yields its rows.

    Attributes:
        size_divisor: H and W must be multiples of it.
        feature_info: {row: its feature's channels and stride}, in the order in which they run.
        class_row: the row that the class head reads.
        class_head: feature -> class logits.
        ab_head: the last row's feature -> ab, at the last row's size.
    """

    size_divisor: int
    feature_info: dict[str, FeatureInfo]
    class_row: str
    class_head: nn.Module
    ab_head: nn.Module

    def rows(
        self, lightness: Tensor, hints: Tensor | None = None, visit: Visit | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Runs row after row, no further than the caller asks.

        Args:
            lightness: (N, 1, H, W) in network units.
            hints: (N, 3, H, W): a and b in network units, 0 where there is no hint, and the hint mask in 0..1.
            visit: called with each row's name and feature; what it returns goes on. Without gradients it may change the
                feature in place.

        Yields:
            Each row's name and feature (N, C, H/stride, W/stride), as later rows get it.

        Raises:
            ValueError: H or W is not a positive multiple of `size_divisor`.
        """
        raise NotImplementedError

    def forward(
        self, lightness: Tensor, hints: Tensor | None = None, visit: Visit | None = None, classify: bool = False
    ) -> Colors:
        """Runs all rows, the regression head and, if asked for, the class head; arguments and errors as of `rows`."""
        class_logits = None
        for name, feature in self.rows(lightness, hints, visit):
            if classify and name == self.class_row:
                class_logits = self.class_head(feature)
        ab = self.ab_head(feature)
        size = lightness.shape[-2:]
        if ab.shape[-2:] != size:
            ab = F.interpolate(ab, size=size, mode='bilinear', align_corners=False)
        return Colors(ab, class_logits)

    def check_size(self, lightness: Tensor) -> None:
        """See the function of this name."""
        check_size(lightness, self.size_divisor)


def check_size(x: Tensor, divisor: int) -> None:
    """Raises `ValueError` unless the height and width of x (N, C, H, W) are positive multiples of a number."""
    height, width = x.shape[-2:]
    if not height or not width or height % divisor or width % divisor:
        raise ValueError(f'the network takes sizes that are multiples of {divisor}, but got {height} x {width}')
