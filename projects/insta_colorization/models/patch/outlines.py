"""Which pixels of its box an object has: its mask, or what can be made of a grey photo where no detector gave one.

Shape legend: H, W the photo, h, w a box of it, R instances.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from insta_colorization.registry import TRANSFORMS
from insta_colorization.structures import Instances
from insta_colorization.structures.request import Box

WithoutMasks = Literal['grabcut', 'box']

# Chosen on the 120 largest of true masks, of which this finds more than the box or the ellipse in it: GrabCut sees the
# surroundings as background, and an ellipse as the object; without one it finds nothing in grey photos.
_SURROUNDINGS = 0.25
_CORE = 0.75
_SIDE = 64
_LEAST_SHARE = 0.25
# How far a box without a mask fades in, as a share of its shorter side.
_BOX_FEATHER = 0.25


class Outline(NamedTuple):
    """Where an object's own colours go.

    Attributes:
        box: x0, y0, x1, y1 in whole pixels of the photo.
        weights: (h, w) float16 in 0..1, or bool.
    """

    box: Box
    weights: Tensor


def has_mask(mask: Tensor) -> bool:
    """Whether a mask (h, w) that was cut to its box says more than the box."""
    return not bool(mask.all())


def with_masks(image: np.ndarray, instances: Instances, without: WithoutMasks) -> tuple[Instances, list[str]]:
    """Gives instances masks where they have none.

    Args:
        image: (H, W, 3) uint8 RGB.
        instances: R instances of it.
        without: 'grabcut' for GrabCut inside the box, or 'box' for the whole box.

    Returns:
        The instances, and where the mask of each comes from: 'mask', 'grabcut' or 'box', which fills its box.
    """
    masks, sources = [], []
    boxes: list[Box] = instances.in_pixels().tolist()
    for box, given in zip(boxes, instances.masks or [None] * len(boxes), strict=True):
        mask, source = given, 'mask'
        if mask is None or not has_mask(mask):
            mask, source = grabcut(image, box) if without == 'grabcut' else None, 'grabcut'
        if mask is None:
            mask, source = torch.ones(box[3] - box[1], box[2] - box[0], dtype=torch.bool), 'box'
        masks.append(mask)
        sources.append(source)
    return replace(instances, masks=tuple(masks)), sources


def with_whole_boxes(instances: Instances) -> Instances:
    """Gives instances that have no masks their whole boxes."""
    if instances.masks is not None:
        return instances
    sides = (instances.in_pixels()[:, 2:] - instances.in_pixels()[:, :2]).tolist()
    return replace(instances, masks=tuple(torch.ones(height, width, dtype=torch.bool) for width, height in sides))


def grabcut(image: np.ndarray, box: Sequence[int]) -> Tensor | None:
    """The object in a box by its lightness (Rother, Kolmogorov, Blake 2004); the same for the same pixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: x0, y0, x1, y1 in whole pixels.

    Returns:
        (h, w) bool; None where the box has no surroundings, or next to nothing of it seems to be the object.
    """
    x0, y0, x1, y1 = box
    start, end = np.array([x0, y0]), np.array([x1, y1])
    margins = np.ceil(_SURROUNDINGS * (end - start)).astype(int)
    left, top = np.maximum(start - margins, 0).tolist()
    right, bottom = np.minimum(end + margins, image.shape[1::-1]).tolist()
    window = np.ascontiguousarray(image[top:bottom, left:right])
    scale = min(1, _SIDE / max(window.shape[:2]))
    size = [max(1, round(side * scale)) for side in window.shape[1::-1]]
    small = cv2.resize(cv2.cvtColor(window, cv2.COLOR_RGB2LAB)[..., 0], size, interpolation=cv2.INTER_AREA)

    # Distances from the box's centre in half sides, at the centres of the small window's pixels.
    x = (left + (np.arange(size[0]) + 0.5) * window.shape[1] / size[0] - (x0 + x1) / 2) / ((x1 - x0) / 2)
    y = (top + (np.arange(size[1]) + 0.5) * window.shape[0] / size[1] - (y0 + y1) / 2) / ((y1 - y0) / 2)
    labels = np.full(small.shape, cv2.GC_PR_BGD, np.uint8)
    radius = np.hypot(x, y[:, None])
    labels[radius < 1] = cv2.GC_PR_FGD
    labels[radius < _CORE] = cv2.GC_FGD
    labels[np.maximum(abs(x), abs(y)[:, None]) >= 1] = cv2.GC_BGD
    if not (labels == cv2.GC_BGD).any() or not (labels == cv2.GC_FGD).any():
        return None
    cv2.setRNGSeed(0)
    ground, thing = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(cv2.merge([small] * 3), labels, (0, 0, 0, 0), ground, thing, 1, cv2.GC_INIT_WITH_MASK)
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    whole = cv2.resize(found * 255, window.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 127
    mask = whole[y0 - top : y1 - top, x0 - left : x1 - left]
    return torch.from_numpy(mask.copy()) if mask.mean() >= _LEAST_SHARE else None


def outlines(instances: Instances, feather: float) -> tuple[Outline, ...]:
    """Where the colours of instances with masks go, fading in from the edges of the masks.

    Args:
        instances: R instances of one photo, with masks.
        feather: how far they fade in, as a share of the shorter side of the box; 0 for hard edges. Masks that fill
            their boxes fade in as far as `InstanceFusion` of the weights that ship does.

    Returns:
        R outlines, in order.
    """
    height, width = instances.image_size[0].tolist()
    found = []
    for box, mask in zip(instances.in_pixels().tolist(), instances.masks or (), strict=True):
        x0, y0, x1, y1 = box
        reach = (feather if has_mask(mask) else _BOX_FEATHER) * min(x1 - x0, y1 - y0)
        # Nothing ends where the photo does.
        open_sides = (y0 > 0, y1 < height), (x0 > 0, x1 < width)
        weights = _faded(mask.numpy(), reach, open_sides) if feather else mask
        found.append(Outline((x0, y0, x1, y1), weights))
    return tuple(found)


def _faded(mask: np.ndarray, reach: float, open_sides: tuple[tuple[bool, bool], tuple[bool, bool]]) -> Tensor:
    """Weights (h, w) of a mask that rise over `reach` pixels from its edges, and from the box's where it is open."""
    padded = np.pad(mask.astype(np.uint8), [[int(side) for side in pair] for pair in open_sides])
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = inside[open_sides[0][0] :, open_sides[1][0] :][: mask.shape[0], : mask.shape[1]]
    return torch.from_numpy((inside / max(reach, 1)).clip(0, 1).astype(np.float16))


def check_settings(feather: float, without_masks: str) -> None:
    """Raises `ValueError` unless the settings of a `PatchColorizer` about masks are in their ranges."""
    if not 0 <= feather <= 1:
        raise ValueError(f'feather must lie in 0..1, but got {feather}')
    if without_masks not in get_args(WithoutMasks):
        known = ', '.join(get_args(WithoutMasks))
        raise ValueError(f'without_masks must be one of {known}, but got {without_masks!r}')


@TRANSFORMS.register_module()
class SegmentInstances:
    """Gives `results['instances']` masks where they have none, as prediction does; see `with_masks`.

    Args:
        without_masks: 'grabcut' or 'box'.

    Raises:
        ValueError: it is neither.
    """

    def __init__(self, without_masks: WithoutMasks = 'grabcut') -> None:
        check_settings(0, without_masks)
        self.without_masks = without_masks

    def describe(self) -> dict[str, Any]:
        """What a protocol says about the masks."""
        return {'masks': f'those of the boxes; without one {self.without_masks}'}

    def __call__(self, results: dict) -> dict:
        """One photo's results; a plain callable, since transforms of mmcv are not asked for in prediction."""
        if 'instances' in results:
            results['instances'], _ = with_masks(results['img'], results['instances'], self.without_masks)
        return results
