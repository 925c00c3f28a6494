"""From a photo to what the networks get: the published pipeline's 1280-pixel frame, or the photo at its own size."""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from PIL import Image

from insta_colorization.imaging.resize import to_tensor
from insta_colorization.models.insta import ColorizationPreprocessor
from insta_colorization.registry import MODELS
from insta_colorization.structures import ColorizationSample, Instances, Request, Size

from .outlines import Outline, WithoutMasks, check_settings, has_mask, outlines, with_masks, with_whole_boxes

# What the published pipeline leaves of a photo's longest side, and the share of its area that a box must exceed.
LONGEST_SIDE = 1280
LEAST_SHARE = 0.001


@MODELS.register_module()
class PatchPreprocessor(ColorizationPreprocessor):
    """Packs photos with the crops and the outlines of their objects, all resized bicubically as published.

    Args:
        feather: see `PatchColorizer`.
        without_masks: see `PatchColorizer`.
        kwargs: see `mmengine.model.BaseDataPreprocessor`.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(self, feather: float = 0.02, without_masks: WithoutMasks = 'grabcut', **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_settings(feather, without_masks)
        self.feather = feather
        self.without_masks = without_masks

    def pack(self, image: np.ndarray, request: Request, size: int, uses: Collection[str]) -> dict[str, Any]:
        """What the networks get of one photo; arguments as of `Colorizer.pack`, and what the model `uses`.

        Returns:
            `inputs` with `image` (3, S, S) and `crops` (R, 3, S, S), uint8; `data_samples`, a `ColorizationSample` with
            the `instances` that are coloured apart and their `outlines` in the frame, whose size is `frame`; the
            metadata `masks` says where the outlines come from.
        """
        photo_size = (image.shape[0], image.shape[1])
        instances = request.instances if request.instances is not None else Instances.empty(photo_size)
        if request.native:
            frame = published_frame(image)
            instances, found = _published_outlines(instances, (frame.shape[0], frame.shape[1]))
            sources = ['mask' if has_mask(mask) else 'box' for mask in instances.masks or ()]
        else:
            frame = image
            instances, sources = with_masks(image, instances, self.without_masks)
            found = outlines(instances, self.feather)
        crops = [squashed(frame[y0:y1, x0:x1], size) for (x0, y0, x1, y1), _ in found]
        inputs = {
            'image': to_tensor(squashed(frame, size)),
            'crops': to_tensor(np.stack(crops)) if crops else torch.zeros(0, 3, size, size, dtype=torch.uint8),
        }
        sample = ColorizationSample(instances=instances, outlines=found)
        sample.set_metainfo({'frame': frame.shape[:2], 'native': request.native, 'masks': sources})
        return {'inputs': inputs, 'data_samples': sample}


def published_frame(image: np.ndarray) -> np.ndarray:
    """A photo (H, W, 3) uint8 as the published pipeline sees it: its longest side at most 1280, Pillow bicubic."""
    height, width = image.shape[:2]
    if max(height, width) <= LONGEST_SIDE:
        return image
    # Pillow's order, and the published code's rounding.
    wide = LONGEST_SIDE, max(1, int(LONGEST_SIDE * height / width))
    high = max(1, int(LONGEST_SIDE * width / height)), LONGEST_SIDE
    return _resized(image, wide if width > height else high)


def squashed(image: np.ndarray, size: int) -> np.ndarray:
    """A photo or crop (H, W, 3) uint8 as a square (size, size, 3), Pillow bicubic, antialiased."""
    return _resized(image, (size, size))


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BICUBIC))


def _published_outlines(instances: Instances, frame: Size) -> tuple[Instances, tuple[Outline, ...]]:
    """The instances with over 0.1 % of the frame, and their outlines there: truncated boxes, masks with hard edges."""
    height, width = frame
    instances = with_whole_boxes(instances)
    assert instances.masks is not None
    scale = torch.tensor([width, height] * 2) / instances.image_size[0].flip(0).repeat(2)
    boxes = (instances.boxes * scale).int()
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = (sides.prod(dim=1) > LEAST_SHARE * width * height).nonzero()[:, 0].tolist()
    found = []
    for number in kept:
        x0, y0, x1, y1 = boxes[number].tolist()
        found.append(Outline((x0, y0, x1, y1), _nearest(instances.masks[number], (y1 - y0, x1 - x0))))
    return instances[kept], tuple(found)


def _nearest(mask: torch.Tensor, size: Size) -> torch.Tensor:
    """A mask (h, w) at another size."""
    if tuple(mask.shape) == size:
        return mask
    return torch.nn.functional.interpolate(mask[None, None].float(), size, mode='nearest-exact')[0, 0] > 0
