"""Equation 1 of the paper (section 3.3) at one row of a network, for instances that come in chunks.

Shape legend: N images, R instances over all of them, C channels, H x W a row's grid, h x w the crops' grid.
"""

from collections.abc import Sequence
from types import EllipsisType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from insta_colorization.structures import Instances, Size

UNCOVERED_LOGIT = 100_000.0


def _resize(x: Tensor, size: Size) -> Tensor:
    return F.interpolate(x, size=size, mode='bilinear', align_corners=False)


class Place(NamedTuple):
    """Where an instance lies: in which image, and in which rows and columns of that image's window."""

    image: int
    rows: slice
    columns: slice

    @property
    def cells(self) -> tuple[EllipsisType, slice, slice]:
        """Index of its cells in a tensor (..., window's height, window's width)."""
        return ..., self.rows, self.columns

    @property
    def size(self) -> Size:
        """(height, width) in cells."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


class Grid:
    """Where a batch's instances lie on one row's grid; rows of the same size share it.

    Outside an image's window, the smallest rectangle around its boxes, nothing of it is fused, computed or kept.

    Args:
        instances: R instances in N images.
        size: (H, W) of the grid.
        device: where the features are.

    Attributes:
        instances: the R instances, on the CPU, so that boxes cost no wait for the device.
        size: (H, W).
        windows: {image: index of its window's cells in (..., H, W)} for the images that have instances.
        places: R `Place`s.
        absent: (N, 1, H, W), the log of how many of an image's instances do not cover a cell.
        bonus: (N, 1, H, W), what an image's weight gets where no box covers.
        owners: kept here by `MaskFusion`.
    """

    def __init__(self, instances: Instances, size: Size, device: torch.device | str = 'cpu') -> None:
        self.instances = instances.to('cpu')
        self.size = size
        self.windows: dict[int, tuple[EllipsisType, slice, slice]] = {}
        self.places: list[Place] = []
        self.owners: dict[str, Tensor] = {}
        image_index, boxes = self.instances.image_index, self.instances.on_grid(size)
        for image in image_index.unique().tolist():
            mine = boxes[image_index == image]
            (left, top), (right, bottom) = mine[:, :2].amin(0).tolist(), mine[:, 2:].amax(0).tolist()
            self.windows[image] = (..., slice(top, bottom), slice(left, right))
        cover = torch.zeros(instances.num_images, 1, *size)
        for image, (x0, y0, x1, y1) in zip(image_index.tolist(), boxes.tolist(), strict=True):
            _, rows, columns = self.windows[image]
            place = Place(image, slice(y0 - rows.start, y1 - rows.start), slice(x0 - columns.start, x1 - columns.start))
            self.places.append(place)
            self.within(cover, image)[place.cells] += 1
        counts = image_index.bincount(minlength=instances.num_images).view(-1, 1, 1, 1)
        self.absent = (counts - cover).log().to(device)
        self.bonus = (UNCOVERED_LOGIT * (cover == 0)).to(device)

    def corners(self, number: int) -> tuple[int, int, int, int]:
        """Where an instance lies in its image: top, left, bottom and right, in cells."""
        place = self.places[number]
        _, down, across = self.windows[place.image]
        top, left = down.start + place.rows.start, across.start + place.columns.start
        return top, left, top + place.size[0], left + place.size[1]

    def within(self, maps: Tensor, image: int) -> Tensor:
        """The window (C, height, width) of one of the images in maps (N, C, H, W); a view."""
        return maps[image][self.windows[image]]


class Canvas:
    """Equation 1 at one row, for instances that come in chunks and are forgotten: memory for one feature an image.

    The paper has, at each cell, sum_i softmax(w)_i * x_i over the image and its instances. Here `mean` is the average
    of the instances so far, weighted by exp(w_i), and `mass` the log of the sum of these weights, so that

        share = exp(w_i) / (exp(mass) + exp(w_i)) = sigmoid(w_i - mass)
        mean <- mean + share * (x_i - mean)
        mass <- log(exp(mass) + exp(w_i))

    adds one, and nothing overflows; at the end the image is added in the same way. Two things are as in the published
    code, whose weights depend on them:

    - An instance's map is padded with 0, not with minus infinity: inside *another* instance's box it still takes a
      share of the softmax, with a zero feature. So before any instance is added, `mass` is the log of how many are
      padded there, and `mean` is zero. Without `padded` it is minus infinity: nobody has a share there.
    - Where no box covers a cell the image's weight gets +100 000, so the image's feature passes unchanged.

    Args:
        grid: where the instances lie.
        record: whether to keep all weights, for `shares`.
        padded: whether instances take a share outside of their own boxes.
    """

    def __init__(self, grid: Grid, record: bool = False, padded: bool = True) -> None:
        self.grid = grid
        self.padded = padded
        self.mass: dict[int, Tensor] = {}
        self.mean: dict[int, Tensor] = {}
        self.count = 0
        self.recorded: list[Tensor] | None = [] if record else None
        self.image_weights: Tensor | None = None

    def next(self, count: int) -> range:
        """Numbers of the next instances to add."""
        return range(self.count, self.count + count)

    def add(self, crops: Tensor, weights: Sequence[Tensor]) -> None:
        """Adds the next r instances: features (r, C, h, w), and r float32 maps (1, height, width), as their boxes."""
        for crop, weight, number in zip(crops.split(1), weights, self.next(len(crops)), strict=True):
            place = self.grid.places[number]
            mass, mean = self._sums(place.image, crop, weight.dtype)
            share = (weight - mass[place.cells]).sigmoid()
            mass[place.cells] = mass[place.cells].logaddexp(weight)
            mean[place.cells].lerp_(_resize(crop, place.size)[0], share.to(mean.dtype))
        self.count += len(crops)
        if self.recorded is not None:
            self.recorded += weights

    def add_maps(self, crops: Tensor, maps: Tensor) -> None:
        """`add` for weight maps (r, 1, h, w) that are not resized to their boxes yet."""
        places = [self.grid.places[number] for number in self.next(len(crops))]
        self.add(crops, [_resize(one, place.size)[0] for one, place in zip(maps.split(1), places, strict=True)])

    def _sums(self, image: int, crop: Tensor, weight_type: torch.dtype) -> tuple[Tensor, Tensor]:
        if image not in self.mass:
            absent = self.grid.within(self.grid.absent, image)
            last = crop.is_contiguous(memory_format=torch.channels_last)
            layout = torch.channels_last if last else torch.contiguous_format
            shape = (1, crop.shape[1], *absent.shape[1:])
            mean = torch.empty(shape, dtype=crop.dtype, device=crop.device, memory_format=layout)
            self.mass[image], self.mean[image] = absent.to(weight_type, copy=True), mean.zero_()[0]
            if not self.padded:
                self.mass[image].fill_(float('-inf'))
        return self.mass[image], self.mean[image]

    def blend(self, feature: Tensor, image_weights: Tensor) -> Tensor:
        """Adds the images themselves by their weights (N, 1, H, W) float32, and lets go of the instances' features.

        `feature` (N, C, H, W) is changed in place and returned.
        """
        assert self.count == len(self.grid.places), 'an instance has not been added'
        for image in self.grid.windows:
            mean = self.mean.pop(image).to(feature.dtype)
            share = self.instances_share(image, image_weights).to(feature.dtype)
            self.grid.within(feature, image).lerp_(mean, share)
        if self.recorded is not None:
            self.image_weights = image_weights
        return feature

    def instances_share(self, image: int, image_weights: Tensor) -> Tensor:
        """Share of all instances of an image, once they are added: (1, height, width) of its window."""
        return (self.mass[image] - self._image_weight(image, image_weights)).sigmoid()

    def total(self, image: int, image_weights: Tensor) -> Tensor:
        """Log of the softmax's denominator, once all instances are added: (1, height, width) of the image's window."""
        return self.mass[image].logaddexp(self._image_weight(image, image_weights))

    def _image_weight(self, image: int, image_weights: Tensor) -> Tensor:
        return self.grid.within(image_weights, image) + self.grid.within(self.grid.bonus, image)

    def shares(self) -> tuple[Tensor, Tensor]:
        """The softmax of a recording canvas that is done.

        Returns:
            Shares of the images (N, 1, H, W) and of the instances (R, 1, H, W). With the instances' shares outside
            their own boxes, which fall to zero features, they add up to one.

        Raises:
            ValueError: the canvas does not record, or is not done.
        """
        if self.recorded is None or self.image_weights is None:
            raise ValueError('shares need a canvas that records and has been blended')
        images = torch.ones_like(self.image_weights)
        instances = images.new_zeros(len(self.recorded), 1, *self.grid.size)
        for image in self.grid.windows:
            self.grid.within(images, image).sub_(self.instances_share(image, self.image_weights))
        for number, (place, weight) in enumerate(zip(self.grid.places, self.recorded, strict=True)):
            window = self.grid.windows[place.image]
            total = self.total(place.image, self.image_weights)
            weights = torch.full_like(total, 0 if self.padded else float('-inf'))
            weights[place.cells] = weight
            instances[number][window] = (weights - total).exp()
        return images, instances


class GradientCanvas(Canvas):
    """A canvas for training: keeps all instances, because the backward pass reads them."""

    def __init__(self, grid: Grid, record: bool = False, padded: bool = True) -> None:
        super().__init__(grid, record, padded)
        self.crops: list[Tensor] = []
        self.weights: list[Tensor] = []

    def add(self, crops: Tensor, weights: Sequence[Tensor]) -> None:  # noqa: D102
        self.crops.append(crops)
        self.weights += weights
        self.count += len(crops)

    def blend(self, feature: Tensor, image_weights: Tensor) -> Tensor:
        """`Canvas.blend`, but into a new tensor."""
        if not self.crops:
            return feature
        canvas = Canvas(self.grid, padded=self.padded)
        crops = self.crops[0] if len(self.crops) == 1 else torch.cat(self.crops)
        blended = _Blend.apply(canvas, feature, image_weights, crops, *self.weights)
        self.mass = canvas.mass
        if self.recorded is not None:
            self.recorded, self.image_weights = [weight.detach() for weight in self.weights], image_weights.detach()
        self.crops, self.weights = [], []
        return blended


class _Blend(torch.autograd.Function):
    """All of a row's instances at once, forward as `Canvas` does it, backward box by box.

    With out = sum_i s_i * x_i over the image and its instances, s the softmax of w:
    d out / d x_i = s_i and d out / d w_i = s_i * (x_i - out).
    """

    @staticmethod
    def forward(
        ctx: Any, canvas: Canvas, feature: Tensor, image_weights: Tensor, crops: Tensor, *weights: Tensor
    ) -> Tensor:
        canvas.add(crops, weights)
        out = canvas.blend(feature.clone(), image_weights)
        ctx.canvas = canvas
        ctx.save_for_backward(feature, out, image_weights, crops, *weights)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        feature, out, image_weights, crops, *weights = ctx.saved_tensors
        canvas, grid = ctx.canvas, ctx.canvas.grid
        # In training stage 3 the instance network stands still, and so does the image's trunk up to the first fusion.
        grad_feature = grad.clone() if ctx.needs_input_grad[1] else None
        grad_image = torch.zeros_like(image_weights)
        grad_crops = torch.empty_like(crops) if ctx.needs_input_grad[3] else None
        for image in grid.windows:
            share = 1 - canvas.instances_share(image, image_weights)
            maps = [grid.within(value, image) for value in (grad, feature, out)]
            grid.within(grad_image, image).copy_(share * _dot(*maps))
            if grad_feature is not None:
                grid.within(grad_feature, image).mul_(share.to(grad.dtype))
        totals = {image: canvas.total(image, image_weights) for image in grid.windows}
        grad_weights = []
        for number, (place, weight) in enumerate(zip(grid.places, weights, strict=True)):
            there, blended = (grid.within(value, place.image)[place.cells] for value in (grad, out))
            crop = crops[number : number + 1]
            share = (weight - totals[place.image][place.cells]).exp()
            grad_weights.append(share * _dot(there, _resize(crop, place.size)[0], blended))
            if grad_crops is not None:
                grad_crops[number] = _resize_backward(share.to(grad.dtype) * there, crop)
        return None, grad_feature, grad_image, grad_crops, *grad_weights


def _dot(grad: Tensor, x: Tensor, out: Tensor) -> Tensor:
    """sum_c grad * (x - out), (C, height, width) -> (1, height, width) in float32 at least."""
    dtype = torch.promote_types(grad.dtype, torch.float32)
    return ((x - out) * grad).sum(0, keepdim=True, dtype=dtype)


def _resize_backward(grad: Tensor, crop: Tensor) -> Tensor:
    """Gradient of `_resize` for crop (1, C, h, w), from that of its result (C, height, width)."""
    size = list(grad.shape[1:])
    return torch.ops.aten.upsample_bilinear2d_backward(grad[None].contiguous(), size, list(crop.shape), False)[0]
