"""The fusion module (paper section 3.3, Eq. 1): blends instance features into the full-image network, row by row.

Shape legend: N images, R instances over all of them, C channels, H x W a row's grid, h x w the crops' grid.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from insta_colorization.registry import MODELS, build_model
from insta_colorization.structures import Instances

from .backbone import STAGE_NAMES, ColorizationBackbone, Colors, Features

UNCOVERED_LOGIT = 100_000.0


def weight_net(channels: int, inner_channels: int) -> nn.Sequential:
    """Three 3x3 convolutions to one weight map; the last one is rectified too, so weights are never negative."""
    return nn.Sequential(
        nn.Conv2d(channels, inner_channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(inner_channels, inner_channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(inner_channels, 1, 3, padding=1),
        nn.ReLU(),
    )


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode='bilinear', align_corners=False)


def fusion_weights(
    image_weight: Tensor, crop_weights: Tensor, boxes: list[list[int]], image_index: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax over the image's weight and those of its instances, at each cell.

    An instance's map is padded with 0, not with minus infinity: inside *another* instance's box it still takes a share
    of the softmax, with a zero feature. Where no box covers a cell the image's weight gets +100 000, so the image's
    feature passes unchanged. Both as in the published code; its weights depend on it.

    Args:
        image_weight: (N, 1, H, W).
        crop_weights: (R, 1, h, w), before they are resized to their boxes.
        boxes: R boxes [x0, y0, x1, y1] in cells of the H x W grid.
        image_index: (R,) int64.

    Returns:
        Shares of the images (N, 1, H, W) and of the instances (R, 1, H, W). With the instances' shares outside their
        own boxes, which fall to zero features, they add up to one.
    """
    pasted = image_weight.new_zeros(len(boxes), *image_weight.shape[1:])
    uncovered = torch.ones_like(image_weight)
    for index, (image, (x0, y0, x1, y1)) in enumerate(zip(image_index.tolist(), boxes, strict=True)):
        pasted[index, :, y0:y1, x0:x1] = _resize(crop_weights[index : index + 1], y1 - y0, x1 - x0)[0]
        uncovered[image, :, y0:y1, x0:x1] = 0
    image_weight = image_weight + UNCOVERED_LOGIT * uncovered
    with torch.no_grad():  # softmax does not depend on the shift, so neither does its gradient
        rows = image_index.view(-1, 1, 1, 1).expand_as(pasted)
        shift = image_weight.scatter_reduce(0, rows, pasted, 'amax')
    image_share = (image_weight - shift).exp()
    shares = (pasted - shift[image_index]).exp()
    total = image_share.index_add(0, image_index, shares)
    return image_share / total, shares / total[image_index]


@MODELS.register_module()
class InstanceFusion(BaseModule):
    """Blends the features of instance crops into those of their images, at one row of the network.

    Args:
        channels: C, of both features.
        inner_channels: channels inside the two weight nets.
        init_cfg: MMEngine's initialization settings.
    """

    def __init__(self, channels: int, inner_channels: int = 16, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.crop_weight = weight_net(channels, inner_channels)
        self.image_weight = weight_net(channels, inner_channels)

    def forward(self, feature: Tensor, crops: Tensor, instances: Instances) -> Tensor:
        """Blends.

        Args:
            feature: (N, C, H, W).
            crops: (R, C, h, w), features of the instances' crops.
            instances: R instances in N images.

        Returns:
            (N, C, H, W).
        """
        image_share, shares = self.shares(feature, crops, instances)
        fused = image_share.to(feature.dtype) * feature
        boxes = instances.on_grid((feature.shape[-2], feature.shape[-1])).tolist()
        for index, (image, (x0, y0, x1, y1)) in enumerate(zip(instances.image_index.tolist(), boxes, strict=True)):
            share = shares[index, :, y0:y1, x0:x1].to(feature.dtype)
            fused[image, :, y0:y1, x0:x1] += share * _resize(crops[index : index + 1], y1 - y0, x1 - x0)[0]
        return fused

    def shares(self, feature: Tensor, crops: Tensor, instances: Instances) -> tuple[Tensor, Tensor]:
        """How much each image (N, 1, H, W) and each instance (R, 1, H, W) counts at each cell; see `fusion_weights`."""
        boxes = instances.on_grid((feature.shape[-2], feature.shape[-1])).tolist()
        image_weight, crop_weights = self.image_weight(feature).float(), self.crop_weight(crops).float()
        return fusion_weights(image_weight, crop_weights, boxes, instances.image_index)


@MODELS.register_module()
class FusionNetwork(ColorizationBackbone):
    """The paper's GF: a trunk with an `InstanceFusion` after each of its thirteen rows.

    Args:
        width: factor on the channels of every row.
        fusion: config of the fusion module; `channels` is filled in row by row.
        init_cfg: MMEngine's initialization settings.
    """

    def __init__(self, width: float = 1.0, fusion: dict | None = None, init_cfg: dict | None = None) -> None:
        super().__init__(width, init_cfg)
        recipe = {'type': 'InstanceFusion', **(fusion or {})}
        self.fusions = nn.ModuleDict(
            {name: build_model({**recipe, 'channels': self.channels[name]}) for name in STAGE_NAMES}
        )

    def forward(  # type: ignore[override]
        self, x: Tensor, instance_features: Features, instances: Instances, classify: bool = False
    ) -> Colors:
        """Colours N images with the help of their R instances.

        Args:
            x: (N, 4, H, W) from `network_input`.
            instance_features: {row: (R, C, h, w)} from the instance network; images may have none.
            instances: R instances in N images, in the order of the features.
            classify: whether to run the class head.

        Returns:
            `Colors` of the N images.
        """

        def fuse(name: str, feature: Tensor) -> Tensor:
            return self.fusions[name](feature, instance_features[name], instances)

        return super().forward(x, fuse=fuse, classify=classify)
