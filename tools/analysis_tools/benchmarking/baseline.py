"""The published way to colour one photo: every instance padded to the whole canvas, row by row, in a loop.

The bookkeeping follows ericsujw/InstColorization (`test_fusion.py`, `models/networks.py`), with our names: full-image
network, instance network with its class head, fusion network; gradients on; contiguous float32. Nothing of the
package's own traversal or fusion is used, only its layers with their weights.

Shape legend: R instances of one photo, C channels, H x W a row's grid, S the network's input size.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from time import perf_counter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from insta_colorization.models.backbones.zhang2017 import STAGES, ColorizationBackbone, network_input
from insta_colorization.models.insta.colorizers import Colorizer
from insta_colorization.models.insta.fusion import InstanceFusion
from insta_colorization.structures import Instances

UNCOVERED_LOGIT = 100_000.0
Weigh = Callable[[str, Tensor], Tensor]


class BoxInfo(NamedTuple):
    """Where a box lies on a grid (the published `box_info`).

    Attributes:
        padding: cells to its left, right, top and bottom.
        size: its (height, width) in cells.
    """

    padding: tuple[int, int, int, int]
    size: tuple[int, int]


class Outcome(NamedTuple):
    """A coloured photo.

    Attributes:
        ab: (1, 2, S, S) in network units.
        seconds: {stage: time}: `plain` the full-image network, `instance` the instance network on all crops, `fused`
            the fusion network, and `fusion` what it spends on weighing instances.
    """

    ab: Tensor
    seconds: dict[str, float]


class LoopAndPad:
    """A colorizer's networks, run in the published way.

    Args:
        model: its networks are copied.
        synchronize: called before the clock is read; a GPU must have finished by then.
    """

    def __init__(self, model: Colorizer, synchronize: Callable[[], None] = lambda: None) -> None:
        self.networks: dict[str, Any] = {name: deepcopy(getattr(model, name)) for name in model.networks}
        for network in self.networks.values():
            # The published test script freezes nothing and knows no `no_grad`, so every activation stays for a backward
            # pass that never comes.
            network.eval().requires_grad_(True).to(memory_format=torch.contiguous_format)
        self.mask_centre = model.mask_centre
        self.synchronize = synchronize

    @torch.enable_grad()
    def __call__(self, lightness: Tensor, crop_lightness: Tensor, instances: Instances) -> Outcome:
        """Colours one photo.

        Args:
            lightness: (1, 1, S, S) in network units.
            crop_lightness: (R, 1, S, S).
            instances: R instances of the photo.
        """
        seconds: dict[str, float] = defaultdict(float)
        with self._timed(seconds, 'plain'):
            ab, _ = trunk(self.networks['image_net'], self._input(lightness), classify=True)
        if len(instances):
            # The crops go through as one batch; nobody reads the full-image network's colours.
            with self._timed(seconds, 'instance'):
                _, crops = trunk(self.networks['instance_net'], self._input(crop_lightness), classify=True)
            with self._timed(seconds, 'fused'):
                ab = self._fused(lightness, crops, instances, seconds)
        return Outcome(ab, dict(seconds))

    def _fused(
        self, lightness: Tensor, crops: dict[str, Tensor], instances: Instances, seconds: dict[str, float]
    ) -> Tensor:
        network = self.networks['fusion_net']
        height, width = lightness.shape[-2:]
        boxes = {row.stride: box_infos(instances, (height // row.stride, width // row.stride)) for row in STAGES}
        strides = {row.name: row.stride for row in STAGES}

        def weigh(name: str, feature: Tensor) -> Tensor:
            with self._timed(seconds, 'fusion'):
                return blend(network.fusions[name], crops[name], feature, boxes[strides[name]])

        ab, _ = trunk(network, self._input(lightness), weigh)
        return ab

    def _input(self, lightness: Tensor) -> Tensor:
        return network_input(lightness, mask_centre=self.mask_centre).contiguous()

    @contextmanager
    def _timed(self, seconds: dict[str, float], stage: str) -> Iterator[None]:
        self.synchronize()
        start = perf_counter()
        yield
        self.synchronize()
        seconds[stage] += perf_counter() - start


def trunk(
    network: ColorizationBackbone, x: Tensor, weigh: Weigh | None = None, classify: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """Runs a network's layers one after the other.

    Args:
        network: whose layers.
        x: (N, 4, S, S).
        weigh: changes each row's feature, in the fusion network.
        classify: whether the class head runs, for nobody; the published fusion network leaves it out.

    Returns:
        ab (N, 2, S, S) and the features of all rows, {row: (N, C, H, W)}.
    """
    features: dict[str, Tensor] = {}
    stride = 1
    for row in STAGES:
        stage: Any = network.stages[row.name]
        if row.stride > stride:
            x = x[:, :, ::2, ::2]
        stride = row.stride
        if row.skip:
            x = stage.up(x) + stage.skip(features[row.skip])
        else:
            for layer in stage:
                # In place, so that the up-sampled sums that are stored get rectified too: the old weights count on it.
                x = x.relu_() if isinstance(layer, nn.ReLU) else layer(x)
        if weigh is not None:
            x = weigh(row.name, x)
        features[row.name] = x
        if classify and row.name == 'conv8':
            network.class_head(x)
    return network.ab_head(x), features


def box_infos(instances: Instances, size: tuple[int, int]) -> list[BoxInfo]:
    """Where each box lies on a grid of (height, width)."""
    height, width = size
    return [
        BoxInfo((x0, width - x1, y0, height - y1), (y1 - y0, x1 - x0))
        for x0, y0, x1, y1 in instances.on_grid(size).tolist()
    ]


def blend(fusion: InstanceFusion, crops: Tensor, feature: Tensor, boxes: Sequence[BoxInfo]) -> Tensor:
    """Equation 1 over R + 1 whole canvases (the published `WeightGenerator.forward`).

    Args:
        fusion: whose weight nets.
        crops: (R, C, H, W), features of the crops.
        feature: (1, C, H, W), feature of the photo.
        boxes: R boxes on this grid.

    Returns:
        (1, C, H, W).
    """
    weights, canvases = [], []
    covered = torch.zeros_like(feature)[:1, :1]
    for crop, box in zip(crops.split(1), boxes, strict=True):
        weights.append(resize_and_pad(fusion.crop_weight(crop), box))
        canvases.append(resize_and_pad(crop, box))
        mask = torch.zeros_like(feature)[:1, :1]
        left, _, top, _ = box.padding
        mask[0, 0, top : top + box.size[0], left : left + box.size[1]] = 1.0
        covered = torch.clamp(covered + mask, 0.0, 1.0)
    weights.append(fusion.image_weight(feature) + (1 - covered) * UNCOVERED_LOGIT)
    canvases.append(feature)
    shares = torch.cat(weights, dim=1).softmax(dim=1).permute(1, 0, 2, 3).contiguous()
    return (torch.cat(canvases) * shares).sum(dim=0, keepdim=True)


def resize_and_pad(x: Tensor, box: BoxInfo) -> Tensor:
    """Brings (1, C, h, w) to the size of its box and pads it with zeros to the canvas."""
    return F.pad(F.interpolate(x, size=box.size, mode='bilinear', align_corners=False), box.padding)
