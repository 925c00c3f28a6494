"""What the networks look at: the photo and its instances, each squashed to a square."""

import numpy as np
import torch
from PIL import Image

from insta_colorization.structures import Instances


def resize_photo(image: np.ndarray, size: int) -> np.ndarray:
    """Squashes a photo (H, W, 3) or (H, W) uint8 to a square of that side, bilinear and antialiased as Pillow does.

    The published code does the same.
    """
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.BILINEAR))


def crop_instances(image: np.ndarray, instances: Instances, size: int) -> np.ndarray:
    """Cuts R instances out of their photo (H, W, 3) or (H, W) uint8, at its own resolution.

    Returns:
        Squares (R, size, size, 3) or (R, size, size) uint8.

    Raises:
        ValueError: the instances lie in an image of another size.
    """
    if tuple(instances.image_size[0].tolist()) != image.shape[:2]:
        raise ValueError(
            f'the instances lie in an image of size {tuple(instances.image_size[0].tolist())}, '
            f'but the photo has {image.shape[:2]}'
        )
    crops = [resize_photo(image[y0:y1, x0:x1], size) for x0, y0, x1, y1 in instances.in_pixels().tolist()]
    return np.stack(crops) if crops else np.zeros((0, size, size, *image.shape[2:]), np.uint8)


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """A copy of an image or of images, (*, H, W, 3) of any dtype, as a tensor (*, 3, H, W)."""
    return torch.from_numpy(np.array(image)).movedim(-1, -3)
