"""The fusion module (paper section 3.3, Eq. 1): blends instance features into the full-image network, row by row.

`Canvas` is the equation. A `FusionNetwork` starts one for each of its rows, the instance network's features are added
to them as they come, and the network blends each with its own feature.

Shape legend: N images, R instances over all of them, C channels, H x W a row's grid, h x w the crops' grid.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from insta_colorization.models.backbones import Backbone, Colors
from insta_colorization.registry import MODELS, build_model
from insta_colorization.structures import Instances, Size

from .canvas import UNCOVERED_LOGIT, Canvas, GradientCanvas, Grid

FUSED = ('none', 'encoder', 'decoder', 'both')


def weight_net(channels: int, inner_channels: int) -> nn.Sequential:
    """Three 3x3 convolutions to one weight map; the last one is rectified too, so weights are never negative."""
    return nn.Sequential(
        nn.Conv2d(channels, inner_channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner_channels, inner_channels, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner_channels, 1, 3, padding=1),
        nn.ReLU(inplace=True),
    )


@MODELS.register_module()
class InstanceFusion(BaseModule):
    """Blends the features of instance crops into those of their images, at one row of the network.

    Args:
        channels: C, of both features.
        inner_channels: channels inside the two weight nets.
        feather: the part of a box's side along which an instance fades in from its edges, except where that is the
            photo's edge: exp(w) in Equation 1 is multiplied by a ramp from 0 to 1. 0 is the paper's, where a box's
            edge can be seen in an even background.
        padded: whether an instance takes a share, with a zero feature, in the boxes of the others, as in the published
            code; else a blend of features is as strong as they are from the start.
        init_cfg: MMEngine's initialization settings.

    Raises:
        ValueError: `feather` is not in [0, 0.5].

    Attributes:
        record: whether new canvases keep their weights, for `Canvas.shares`.
    """

    record = False

    def __init__(
        self,
        channels: int,
        inner_channels: int = 16,
        feather: float = 0.0,
        padded: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        if not 0 <= feather <= 0.5:
            raise ValueError(f'feather must be a part of a side in [0, 0.5], but got {feather}')
        super().__init__(init_cfg)
        self.feather = feather
        self.padded = padded
        self.crop_weight = weight_net(channels, inner_channels)
        self.image_weight = weight_net(channels, inner_channels)

    def start(self, grid: Grid) -> Canvas:
        """A canvas for the instances of a batch; one that backward passes go through if gradients are on."""
        return (GradientCanvas if torch.is_grad_enabled() else Canvas)(grid, self.record, self.padded)

    def add(self, canvas: Canvas, crops: Tensor) -> None:
        """Adds the features (r, C, h, w) of the next r instances' crops."""
        maps = _at_least_float(self.crop_weight(crops))
        if self.feather:
            maps = maps + self._fading(canvas, maps)
        canvas.add_maps(crops, maps)

    def _fading(self, canvas: Canvas, maps: Tensor) -> Tensor:
        """The log of the ramps of the next r instances: (r, 1, h, w), of the size of their weight maps."""
        height, width = canvas.grid.size
        ramps = []
        for number in canvas.next(len(maps)):
            top, left, bottom, right = canvas.grid.corners(number)
            down = self._ramp(maps.shape[2], top > 0, bottom < height)
            across = self._ramp(maps.shape[3], left > 0, right < width)
            ramps.append(down[:, None] + across)
        return torch.stack(ramps)[:, None].to(maps.device)

    def _ramp(self, length: int, at_start: bool, at_end: bool) -> Tensor:
        """Log of a ramp from 0 to 1 at both ends of a side, or at one, or at none: (length,)."""
        inside = (torch.arange(length) + 0.5) / (length * self.feather)
        shares = [end for end, fades in ((inside, at_start), (inside.flip(0), at_end)) if fades]
        return sum((share.clamp(max=1).log() for share in shares), torch.zeros(length))

    def forward(self, feature: Tensor, canvas: Canvas) -> Tensor:
        """Blends a feature (N, C, H, W), without gradients in place, with the canvas of all R instances.

        The canvas, from `start`, is used up.
        """
        return canvas.blend(feature, _at_least_float(self.image_weight(feature)))


def _at_least_float(weights: Tensor) -> Tensor:
    """Half-precision weights in float32: a softmax is not for 8 bits of mantissa, nor is +100 000."""
    return weights.to(torch.promote_types(weights.dtype, torch.float32))


@MODELS.register_module()
class MaskFusion(InstanceFusion):
    """Masks in place of learned weights (the paper's Table 3c): within its mask an instance replaces the image.

    Where masks overlap the higher score lies on top, at equal scores the larger box. The weight nets are there, so that
    checkpoints fit, but neither run nor train. The shares of Equation 1 are 0 or 1 here, by weights of 0 or 100 000.

    Args:
        channels: C, of both features.
        mask: 'box' for the whole box, 'instance' for the instance's own mask.
        kwargs: see `InstanceFusion`.

    Raises:
        ValueError: another mask, or edges that are to fade.
    """

    def __init__(self, channels: int, mask: str = 'box', **kwargs: Any) -> None:
        super().__init__(channels, **kwargs)
        if mask not in ('box', 'instance'):
            raise ValueError(f"mask must be 'box' or 'instance', but got {mask!r}")
        if self.feather:
            raise ValueError(f'masks have hard edges, but feather is {self.feather}')
        self.mask = mask
        self.requires_grad_(False)

    def add(self, canvas: Canvas, crops: Tensor) -> None:
        """As `InstanceFusion.add`.

        Raises:
            ValueError: the instances have no masks, but the weights should be theirs.
        """
        grid, weights = canvas.grid, []
        owners = self._owners(grid)
        for number in canvas.next(len(crops)):
            place = grid.places[number]
            owned = grid.within(owners, place.image)[place.cells] == number
            weights.append(UNCOVERED_LOGIT * owned)
        canvas.add(crops, weights)

    def forward(self, feature: Tensor, canvas: Canvas) -> Tensor:  # noqa: D102
        # For cells that a box covers, but no mask; where no box covers, the canvas itself adds as much.
        return canvas.blend(feature, UNCOVERED_LOGIT * (self._owners(canvas.grid) == -1))

    def _owners(self, grid: Grid) -> Tensor:
        """(N, 1, H, W): the number of the instance on top, -1 where none is."""
        if self.mask not in grid.owners:
            owners = torch.full(grid.absent.shape, -1)
            for number in grid.instances.worst_to_best().tolist():
                place = grid.places[number]
                grid.within(owners, place.image)[place.cells][self._mask_on_grid(grid, number)] = number
            grid.owners[self.mask] = owners.to(grid.absent.device)
        return grid.owners[self.mask]

    def _mask_on_grid(self, grid: Grid, number: int) -> Tensor:
        """(1, height, width) bool of the instance's box."""
        if self.mask == 'box':
            return torch.ones(1, *grid.places[number].size, dtype=torch.bool)
        if grid.instances.masks is None:
            raise ValueError("the weights are the instances' masks, but these instances have none")
        whole = grid.instances.whole_mask(number)[None, None].float()
        cells = F.interpolate(whole, size=grid.size, mode='nearest-exact')[0].bool()
        return cells[grid.windows[grid.places[number].image]][grid.places[number].cells]


Canvases = Mapping[str, Canvas]


@MODELS.register_module()
class FusionNetwork(BaseModule):
    """The paper's GF: a backbone with an `InstanceFusion` after its rows.

    Args:
        backbone: config of the backbone; None for the published one.
        fusion: config of the fusion module; `channels` is filled in row by row.
        fused: where the network fuses (the paper's Table 3a): 'both', 'encoder' (the rows before the first that
            upsamples), 'decoder' (the others) or 'none', whose further modules are there, so that checkpoints fit, but
            neither run nor train; or the names of the rows that have one.
        width: that of the published backbone, as configs said it before there was another one.
        init_cfg: MMEngine's initialization settings.

    Raises:
        ValueError: there is no such part or row, or `width` comes with a `backbone`.
    """

    def __init__(
        self,
        backbone: dict | None = None,
        fusion: dict | None = None,
        fused: str | Sequence[str] = 'both',
        width: float | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if backbone is not None and width is not None:
            raise ValueError(f'width is part of the backbone, but got {width} beside it')
        trunk = backbone or {'type': 'ColorizationBackbone', **({} if width is None else {'width': width})}
        # In a tuple, so that its modules are registered as this network's own: their entries have no further prefix in
        # any checkpoint.
        self._backbone: tuple[Backbone] = (build_model(trunk),)
        for name, module in self.backbone.named_children():
            self.add_module(name, module)
        self.fused_rows = _rows(self.backbone, fused)
        recipe = {'type': 'InstanceFusion', **(fusion or {})}
        info = self.backbone.feature_info
        present = info if isinstance(fused, str) else self.fused_rows
        self.fusions = nn.ModuleDict(
            {name: build_model({**recipe, 'channels': info[name].channels}) for name in present}
        )
        for name, module in self.fusions.items():
            if name not in self.fused_rows:
                module.requires_grad_(False)

    @property
    def backbone(self) -> Backbone:
        """The network that is fused into."""
        return self._backbone[0]

    @property
    def size_divisor(self) -> int:
        """See `Backbone`."""
        return self.backbone.size_divisor

    def start(self, instances: Instances, size: Size) -> Canvases:
        """A canvas for each row that fuses, for R instances in N images; `size` is that of the network's input."""
        device = next(self.parameters()).device
        strides = {name: self.backbone.feature_info[name].stride for name in self.fused_rows}
        grids = {
            stride: Grid(instances, (size[0] // stride, size[1] // stride), device)
            for stride in sorted(set(strides.values()))
        }
        return {name: self._fusion(name).start(grids[stride]) for name, stride in strides.items()}

    def add(self, canvases: Canvases, name: str, crops: Tensor) -> None:
        """Adds what the instance network found at a row for the next r crops, (r, C, h, w)."""
        self._fusion(name).add(canvases[name], crops)

    def _fusion(self, name: str) -> InstanceFusion:
        return cast(InstanceFusion, self.fusions[name])

    def forward(self, lightness: Tensor, hints: Tensor | None, canvases: Canvases, classify: bool = False) -> Colors:
        """Colours N images with the help of their R instances.

        Args:
            lightness: (N, 1, H, W) in network units.
            hints: see `Backbone.rows`.
            canvases: from `start`, all R instances added; they are used up.
            classify: whether to run the class head.

        Returns:
            `Colors` of the N images.
        """

        def fuse(name: str, feature: Tensor) -> Tensor:
            return self.fusions[name](feature, canvases[name]) if name in canvases else feature

        return self.backbone(lightness, hints, visit=fuse, classify=classify)


def _rows(backbone: Backbone, fused: str | Sequence[str]) -> tuple[str, ...]:
    names = tuple(backbone.feature_info)
    if isinstance(fused, str):
        if fused not in FUSED:
            raise ValueError(f'fused must be one of {", ".join(FUSED)}, but got {fused!r}')
        strides = [info.stride for info in backbone.feature_info.values()]
        first_up = next(index for index, (one, other) in enumerate(pairwise(strides), start=1) if other < one)
        return {'none': (), 'encoder': names[:first_up], 'decoder': names[first_up:], 'both': names}[fused]
    if unknown := [name for name in fused if name not in names]:
        raise ValueError(f'there is no row {", ".join(unknown)} to fuse at; known are {", ".join(names)}')
    return tuple(name for name in names if name in fused)
