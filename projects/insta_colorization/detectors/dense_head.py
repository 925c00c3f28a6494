"""A detection head on the colour networks' encoder, and its training.

Anchor-free, after FCOS (Tian et al. 2019): each cell of two grids predicts the box of the object around its centre, how
good that box is (a quality, after Li et al. 2020) and the object's class. The encoder stays as it is, or is copied from
one feature on and trained along.

Shape legend: N pictures, H, W their size (multiples of 32), A cells over all grids, C classes, R boxes over all N.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor, nn

from insta_colorization.registry import MODELS, build_model
from insta_colorization.structures import COCO_CLASSES, Instances, Size

from .encoder import encoder_for

ROWS = ('enc16', 'enc32')
# In strides: an object belongs to the grids for which its size (root of the area) lies within; grids overlap.
_LEAST_SIZE, _GREATEST_SIZE = 2.0, 6.0
# In strides: so far from an object's centre its cells reach.
_RADIUS = 1.5
_MAX_LOG_SIDE = 5.0
# So that a head that has learnt nothing finds nothing.
_FIRST_QUALITY = 0.02
_NORM_GROUPS = 8


class Found(NamedTuple):
    """What the head says of each cell.

    Attributes:
        quality: (N, A) logits; how well the box encloses an object.
        classes: (N, A, C) logits of a softmax.
        boxes: (N, A, 4) xyxy in pixels of the pictures.
        centres: (A, 2) of the cells, x and y in pixels.
        strides: (A,) in pixels.
    """

    quality: Tensor
    classes: Tensor
    boxes: Tensor
    centres: Tensor
    strides: Tensor


class DenseHead(nn.Module):
    """A top-down pyramid over features of the encoder, then towers of convolutions that all grids share.

    Args:
        features: {row: channels and stride}, from fine to coarse.
        channels: of the pyramid and the towers, a multiple of 8.
        num_classes: C.
        convs: of each tower.
        separable: whether these are depthwise and pointwise ones, a ninth of the work, or whole ones.
    """

    def __init__(
        self,
        features: Mapping[str, tuple[int, int]],
        channels: int = 128,
        num_classes: int = len(COCO_CLASSES),
        convs: int = 2,
        separable: bool = True,
    ) -> None:
        super().__init__()
        self.strides = {row: stride for row, (_, stride) in features.items()}
        self.laterals = nn.ModuleDict({row: nn.Conv2d(given, channels, 1) for row, (given, _) in features.items()})
        self.scales = nn.Parameter(torch.ones(len(features)))
        self.box_tower, self.class_tower = (_tower(channels, convs, separable) for _ in range(2))
        self.box, self.quality = nn.Conv2d(channels, 4, 1), nn.Conv2d(channels, 1, 1)
        self.classes = nn.Conv2d(channels, num_classes, 1)
        for conv in (self.box, self.quality, self.classes):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.quality.bias, torch.logit(torch.tensor(_FIRST_QUALITY)).item())  # type: ignore[arg-type]

    @classmethod
    def of_shape(cls, features: Mapping[str, tuple[int, int]], entries: Mapping[str, Tensor]) -> 'DenseHead':
        """A new head of the shape that saved entries have.

        Raises:
            KeyError: they are not those of a head.
        """
        classes, channels = entries['classes.weight'].shape[:2]
        norms = [name for name in entries if name.startswith('box_tower.') and name.endswith('.bias')]
        separable = entries['box_tower.0.weight'].shape[1] == 1
        return cls(features, channels, classes, len(norms), separable)

    def forward(self, features: Mapping[str, Tensor]) -> Found:
        """The cells of all grids, from {row: (N, channels, H / stride, W / stride)}."""
        parts = []
        x: Tensor | None = None
        for number, (row, stride) in reversed([*enumerate(self.strides.items())]):
            lateral = self.laterals[row](features[row])
            x = lateral if x is None else lateral + F.interpolate(x, lateral.shape[-2:], mode='nearest')
            of_box, of_class = self.box_tower(x), self.class_tower(x)
            centres = _centres(x, stride)
            sides = (self.box(of_box) * self.scales[number]).clamp(max=_MAX_LOG_SIDE).exp() * stride
            to_corners = _cells(sides) * sides.new_tensor([-1, -1, 1, 1])
            boxes = centres.repeat(1, 2) + to_corners
            strides = centres.new_full((len(centres),), stride)
            quality = _cells(self.quality(of_box))[..., 0]
            parts.append(Found(quality, _cells(self.classes(of_class)), boxes, centres, strides))
        parts.reverse()
        cells = [torch.cat([part[field] for part in parts], dim=dim) for field, dim in enumerate((1, 1, 1, 0, 0))]
        return Found(*cells)


def _tower(channels: int, convs: int, separable: bool) -> nn.Sequential:
    # Norms of groups and not of batches: what is found in a photo does not depend on those beside it.
    layers: list[nn.Module] = []
    for _ in range(convs):
        layers += [nn.Conv2d(channels, channels, 3, padding=1, groups=channels if separable else 1, bias=False)]
        if separable:
            layers += [nn.Conv2d(channels, channels, 1, bias=False)]
        layers += [nn.GroupNorm(_NORM_GROUPS, channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _cells(grid: Tensor) -> Tensor:
    """(N, channels, h, w) as (N, h * w, channels)."""
    return grid.flatten(2).transpose(1, 2)


def _centres(grid: Tensor, stride: int) -> Tensor:
    """(h * w, 2), x and y in pixels."""
    rows, columns = (torch.arange(side, device=grid.device, dtype=torch.float32) for side in grid.shape[-2:])
    return (torch.stack(torch.meshgrid(columns, rows, indexing='xy'), dim=-1).reshape(-1, 2) + 0.5) * stride


def assign(boxes: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Which box of one picture each cell learns.

    A cell learns a box whose centre is near and whose size suits the cell's grid, the smallest one of several.

    Args:
        boxes: (R, 4).
        centres: (A, 2).
        strides: (A,).

    Returns:
        (A,) int64 index of the box, -1 for none.
    """
    if not len(boxes):
        return torch.full_like(strides, -1, dtype=torch.int64)
    x, y = centres.T
    inside = (boxes[:, :1] < x) & (x < boxes[:, 2:3]) & (boxes[:, 1:2] < y) & (y < boxes[:, 3:])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = ((middles[:, None] - centres).abs() < _RADIUS * strides[:, None]).all(dim=-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1, keepdim=True)
    sizes = areas.sqrt() / strides
    suits = (sizes >= _LEAST_SIZE) | (strides == strides.min())
    suits &= (sizes <= _GREATEST_SIZE) | (strides == strides.max())
    smallest, index = areas.where(inside & near & suits, torch.inf).min(dim=0)
    return index.where(smallest.isfinite(), -1)


def averaged(found: Found, mirrored: Found, width: int) -> Found:
    """What the head says of pictures on average with what it says of their mirror images.

    Probabilities are averaged, and boxes by their qualities.

    Args:
        found: of the pictures.
        mirrored: of the mirror images.
        width: of the pictures, in pixels; a multiple of each stride.

    Returns:
        Shapes and order of `found`; boxes in pixels of the pictures, `quality` the logit of the mean probability, and
        `classes` logarithms of mean probabilities.
    """
    numbers = torch.arange(len(found.strides), device=found.strides.device)
    grids = [numbers[found.strides == stride].view(-1, int(width / stride)) for stride in found.strides.unique()]
    order = torch.cat([grid.flip(1).flatten() for grid in grids])  # by stride, as the cells are
    x0, y0, x1, y1 = mirrored.boxes[:, order].unbind(-1)
    boxes = torch.stack([found.boxes, torch.stack([width - x1, y0, width - x0, y1], dim=-1)])
    qualities = torch.stack([found.quality, mirrored.quality[:, order]])
    classes = torch.stack([found.classes, mirrored.classes[:, order]])
    return found._replace(
        quality=qualities.sigmoid().mean(dim=0).logit(),
        classes=classes.softmax(dim=-1).mean(dim=0).log(),
        boxes=(qualities.softmax(dim=0)[..., None] * boxes).sum(dim=0),
    )


def box_ious(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalized IoU (Rezatofighi et al. 2019) of boxes (R, 4) in pairs, (R,) each."""
    area = (first[:, 2:] - first[:, :2]).prod(dim=1) + (second[:, 2:] - second[:, :2]).prod(dim=1)
    common = (first[:, 2:].minimum(second[:, 2:]) - first[:, :2].maximum(second[:, :2])).clamp(min=0).prod(dim=1)
    around = (first[:, 2:].maximum(second[:, 2:]) - first[:, :2].minimum(second[:, :2])).prod(dim=1)
    union = area - common
    iou = common / union
    return iou, iou - (around - union) / around


@MODELS.register_module()
class DetectionPreprocessor(BaseDataPreprocessor):
    """Batches grey pictures and the boxes in them."""

    def forward(self, data: dict, training: bool = False) -> dict:
        """Converts a collated batch.

        Args:
            data: `inputs` with `gray`, N tensors (H, W) uint8; `data_samples`, N `ColorizationSample` with `instances`
                in pixels of the photos before `ResizePhoto`.
            training: has no effect.

        Returns:
            `gray` (N, H, W) uint8, `instances` in pixels of the pictures, on the device, and `data_samples`.
        """
        inputs, samples = self.cast_data(data['inputs']), data['data_samples']
        gray = torch.stack(list(inputs['gray']))
        instances = Instances.cat([_on((gray.shape[-2], gray.shape[-1]), sample.instances) for sample in samples])
        return {'gray': gray, 'instances': instances.to(gray.device), 'data_samples': samples}


def _on(size: Size, instances: Instances) -> Instances:
    """The boxes of one photo that was squashed to `size`."""
    edge = torch.tensor([*size[::-1], *size[::-1]])
    boxes = instances.boxes * (edge / instances.image_size.flip(1).repeat(1, 2))
    # Rounding can move a box past the edge.
    return replace(instances, boxes=boxes.minimum(edge), image_size=size, masks=None)  # type: ignore[arg-type]


@MODELS.register_module()
class DenseDetector(BaseModel):
    """Trains a `DenseHead` with boxes that another detector found: their scores are how much they count.

    Args:
        encoder: colour weights on the light backbone; their encoder stays as it is.
        rows, cache: see `FrozenEncoder`.
        above: a feature of the encoder; what follows it is copied, trained along and saved. None: nothing is.
        head: arguments of `DenseHead`.
        data_preprocessor: config of what makes batches.
        init_cfg: MMEngine's initialization settings.
    """

    def __init__(
        self,
        encoder: str | Path,
        rows: Sequence[str] = ROWS,
        cache: str | Path | None = None,
        above: str | None = None,
        head: Mapping[str, Any] | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(build_model(data_preprocessor or {'type': 'DetectionPreprocessor'}), init_cfg)
        self.encoder = encoder_for(encoder, rows, above, cache)
        self.head = DenseHead(self.encoder.feature_info, **(head or {}))
        self.to(memory_format=torch.channels_last)

    def forward(
        self, gray: Tensor, instances: Instances | None = None, mode: str = 'tensor', **rest: Any
    ) -> Found | dict[str, Tensor]:
        """MMEngine's entry.

        Args:
            gray: (N, H, W) uint8.
            instances: the boxes to learn, in pixels of the pictures.
            mode: 'tensor' for what is found, or 'loss'.
            rest: what else the preprocessor gives.

        Raises:
            ValueError: the mode is none of these, or there is nothing to learn.
        """
        if mode not in ('tensor', 'loss'):
            raise ValueError(f"mode must be 'loss' or 'tensor', but got {mode!r}")
        found = self.head(self.encoder(gray))
        if mode == 'tensor':
            return found
        if instances is None:
            raise ValueError("mode 'loss' needs instances, but got none")
        return detection_losses(found, instances)


def detection_losses(found: Found, truth: Instances) -> dict[str, Tensor]:
    """Losses by name: of the quality of all cells, of the boxes and of the classes of those that have an object.

    A cell's true quality is the geometric mean of the IoU that its box has now and of the score of its object.
    """
    numbers = torch.arange(len(truth), device=truth.boxes.device)
    assigned = torch.full_like(found.quality, -1, dtype=torch.int64)
    for image in range(len(assigned)):
        own = numbers[truth.image_index == image]
        index = assign(truth.boxes[own], found.centres, found.strides)
        assigned[image] = torch.cat([own, own.new_tensor([-1])])[index]
    positive = assigned >= 0
    learnt = truth[assigned[positive]]
    iou, generalized = box_ious(found.boxes[positive], learnt.boxes)
    total = learnt.scores.sum().clamp(min=1)
    quality = torch.zeros_like(found.quality)
    quality[positive] = (iou.detach() * learnt.scores).sqrt()
    far = (found.quality.detach().sigmoid() - quality).square()
    logits = F.binary_cross_entropy_with_logits(found.quality, quality, reduction='none')
    losses = {
        'loss_quality': (far * logits).sum() / total,
        'loss_box': (learnt.scores * (1 - generalized)).sum() / total,
    }
    if learnt.labels is not None:
        classes = F.cross_entropy(found.classes[positive], learnt.labels, reduction='none', ignore_index=-1)
        losses['loss_class'] = (learnt.scores * classes).sum() / total
    return losses
