"""The fusion (paper section 3.3, Eq. 1) as one CUDA kernel for a row of the network, forward and backward.

`blend` is what `Canvas.add` and `Canvas.blend` are together, for instances whose features are all there: nothing is
resized or padded beforehand, weights and features are read from the crops where a cell needs them. Backward, one launch
gives the gradients of the image's feature and of all weights, a second one those of the crops' features if they are
asked for. Triton compiles the kernels of `fusion_triton` when they first run, for each kind of number and layout, and
remembers them.

Shape legend: N images, R instances over all of them, C channels, H x W a row's grid, h x w the crops' grid.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .fusion import Grid

FEATURE_TYPES = (torch.float32, torch.bfloat16, torch.float16)
# A program's tile in cells, and its channels at a time. 32 x 64 values are 16 a thread, so that what it holds of an
# instance, four taps and the sums, stays in registers.
TILE = (4, 8)
BLOCK = 64


def available(tensor: Tensor) -> bool:
    """Whether the kernel can run where this tensor is: on CUDA, with triton, and gradients may vary in the last bit."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    return tensor.is_cuda and not deterministic and find_spec('triton') is not None


def blend(feature: Tensor, image_weights: Tensor, crops: Tensor, crop_weights: Tensor, grid: 'Grid') -> Tensor:
    """Blends the features of all instances into those of their images.

    Fastest if features and crops are channels_last. On a CPU it runs in Triton's interpreter only.

    Args:
        feature: (N, C, H, W) float32, bfloat16 or float16; without gradients it is changed in place.
        image_weights: (N, 1, H, W), not raised yet where no box covers; softmax is in float32.
        crops: (R, C, h, w), the instances' features, in the order of the grid's places.
        crop_weights: (R, 1, h, w), their weight maps, not resized yet.
        grid: where the instances lie.

    Returns:
        (N, C, H, W), of the feature's type. Cells that no box covers are the image's, bit by bit.

    Raises:
        ImportError: triton is not installed.
        TypeError: features of another type.
        ValueError: shapes that do not belong together.
    """
    _check(feature, image_weights, crops, crop_weights, grid)
    if not grid.places:
        return feature
    image_weights, crop_weights = image_weights.float().contiguous(), crop_weights.float().contiguous()
    if torch.is_grad_enabled():
        return _Blend.apply(grid, _dense(feature), image_weights, _dense(crops), crop_weights)
    feature = _dense(feature)
    _forward(feature, feature, image_weights, _dense(crops), crop_weights, None, grid)
    return feature


def _check(feature: Tensor, image_weights: Tensor, crops: Tensor, crop_weights: Tensor, grid: 'Grid') -> None:
    for name, value in (('features', feature), ('crops', crops)):
        if value.dtype not in FEATURE_TYPES:
            raise TypeError(f'{name} must be float32, bfloat16 or float16, but are {value.dtype}')
    images = (len(grid.absent), 1, *grid.size)
    expected = {
        'feature': (feature, (images[0], feature.shape[1], *grid.size)),
        'image_weights': (image_weights, images),
        'crops': (crops, (len(grid.places), feature.shape[1], *crops.shape[2:])),
        'crop_weights': (crop_weights, (len(grid.places), 1, *crops.shape[2:])),
    }
    for name, (value, shape) in expected.items():
        if value.shape != shape:
            raise ValueError(f'{name} must have shape {shape}, but got {tuple(value.shape)}')


def _dense(x: Tensor) -> Tensor:
    """x itself if it is channels_last or contiguous, else a copy that is: one set of strides serves gradients too."""
    return x if x.is_contiguous(memory_format=torch.channels_last) else x.contiguous()


def _like(x: Tensor, model: Tensor) -> Tensor:
    last = model.is_contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


class _Members(NamedTuple):
    """A grid's instances on the device, see `fusion_triton`."""

    offsets: Tensor
    members: Tensor


_MEMBERS: 'WeakKeyDictionary[Grid, _Members]' = WeakKeyDictionary()


def _members(grid: 'Grid') -> _Members:
    """Built once for all rows that share the grid, and sent without waiting for the device."""
    if grid not in _MEMBERS:
        rows = []
        for number, place in enumerate(grid.places):
            rows.append((place.image, number, *grid.corners(number)))
        members = torch.tensor(sorted(rows), dtype=torch.int32).view(-1, 6)
        counts = members[:, 0].bincount(minlength=len(grid.absent))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
        device = grid.absent.device
        _MEMBERS[grid] = _Members(offsets.to(device, non_blocking=True), members.to(device, non_blocking=True))
    return _MEMBERS[grid]


def _kernels() -> Any:
    """The module of the kernels."""
    try:
        from . import fusion_triton
    except ImportError as error:
        raise ImportError("the fusion's kernel needs triton: pip install triton") from error
    return fusion_triton


class _Launch(NamedTuple):
    """What all kernels are told about sizes.

    Attributes:
        tiles: of the map that the programs share among themselves.
        blocks: of channels.
        sizes: C, H, W, h, w and the strides of features and crops.
        shape: the constants of the compiled kernel.
    """

    tiles: int
    blocks: int
    sizes: tuple[Any, ...]
    shape: dict[str, int]


def _launch(feature: Tensor, crops: Tensor, divided: Tensor) -> _Launch:
    channels, (height, width) = feature.shape[1], divided.shape[2:]
    block = min(BLOCK, 1 << (channels - 1).bit_length())
    return _Launch(
        tiles=-(-height // TILE[0]) * -(-width // TILE[1]),
        blocks=-(-channels // block),
        sizes=(channels, *feature.shape[2:], *crops.shape[2:], feature.stride(), crops.stride()),
        shape={'tile_height': TILE[0], 'tile_width': TILE[1], 'block': block},
    )


def _forward(
    feature: Tensor,
    out: Tensor,
    image_weights: Tensor,
    crops: Tensor,
    crop_weights: Tensor,
    total: Tensor | None,
    grid: 'Grid',
) -> None:
    launch = _launch(feature, crops, feature)
    with torch.cuda.device_of(feature):
        _kernels().blend[launch.tiles, launch.blocks, len(feature)](
            feature, out, image_weights, crops, crop_weights, total, *_members(grid), *launch.sizes,
            in_place=total is None, **launch.shape,
        )  # fmt: skip


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grid: 'Grid', feature: Tensor, image_weights: Tensor, crops: Tensor, crop_weights: Tensor
    ) -> Tensor:
        out, total = torch.empty_like(feature), torch.empty_like(image_weights)
        _forward(feature, out, image_weights, crops, crop_weights, total, grid)
        ctx.grid = grid
        ctx.save_for_backward(feature, out, image_weights, crops, crop_weights, total)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        feature, out, image_weights, crops, crop_weights, total = ctx.saved_tensors
        offsets, members = _members(ctx.grid)
        grad = _like(grad, feature)
        # In training stage 3 the instance network stands still, and so does the image's trunk up to the first fusion.
        grad_feature = torch.empty_like(feature) if ctx.needs_input_grad[1] else None
        grad_crops = torch.empty_like(crops) if ctx.needs_input_grad[3] else None
        grad_image_weights, grad_crop_weights = torch.empty_like(image_weights), torch.zeros_like(crop_weights)
        with torch.cuda.device_of(feature):
            launch = _launch(feature, crops, feature)
            _kernels().gradients[launch.tiles, 1, len(feature)](
                grad, feature, out, image_weights, total, crops, crop_weights,
                grad_feature, grad_image_weights, grad_crop_weights, offsets, members, *launch.sizes,
                with_feature=grad_feature is not None, **launch.shape,
            )  # fmt: skip
            if grad_crops is not None:
                launch = _launch(feature, crops, crops)
                _kernels().crop_gradients[launch.tiles, launch.blocks, len(crops)](
                    grad, total, crop_weights, grad_crops, members, *launch.sizes, **launch.shape
                )
        return None, grad_feature, grad_image_weights, grad_crops, grad_crop_weights
