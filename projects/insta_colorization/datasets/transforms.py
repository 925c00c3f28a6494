"""Photo transforms: RGB uint8 HWC in `results['img']`, until `PackColorization` makes tensors of it.

RGB -> Lab happens once, on the device, in the data preprocessor.
"""

import logging

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from insta_colorization.crops import resize_photo, to_tensor
from insta_colorization.imaging import ImageReadError, load_rgb
from insta_colorization.registry import TRANSFORMS
from insta_colorization.structures import ColorizationSample


@TRANSFORMS.register_module()
class LoadPhoto(BaseTransform):
    """Reads `results['img_path']` by `imaging.load_rgb`; an unreadable photo is logged and gives None."""

    def transform(self, results: dict) -> dict | None:  # noqa: D102
        try:
            results['img'] = load_rgb(results['img_path'])
        except ImageReadError as error:
            print_log(f'skipped: {error}', logger='current', level=logging.WARNING)
            return None
        results['image_size'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class RandomCropPhoto(BaseTransform):
    """Keeps a random window whose sides are a random fraction of the photo's.

    Args:
        min_side: the least fraction; the greatest is 1.
    """

    def __init__(self, min_side: float = 0.7) -> None:
        if not 0 < min_side <= 1:
            raise ValueError(f'min_side must be a fraction in (0, 1], but got {min_side}')
        self.min_side = min_side

    def transform(self, results: dict) -> dict:  # noqa: D102
        image = results['img']
        fraction = np.random.uniform(self.min_side, 1, size=2)
        height, width = np.maximum((fraction * image.shape[:2]).round().astype(int), 1)
        top = np.random.randint(image.shape[0] - height + 1)
        left = np.random.randint(image.shape[1] - width + 1)
        results['img'] = image[top : top + height, left : left + width]
        return results


@TRANSFORMS.register_module()
class RandomFlipPhoto(BaseTransform):
    """Mirrors half of the photos left to right."""

    def transform(self, results: dict) -> dict:  # noqa: D102
        if np.random.rand() < 0.5:
            results['img'] = results['img'][:, ::-1]
        return results


@TRANSFORMS.register_module()
class ResizePhoto(BaseTransform):
    """Squashes the photo to a square, whatever its aspect, as the published code does.

    Args:
        size: its side in pixels, a multiple of 8.
        keep_truth: whether the photo as it was before is what predictions are compared with.
    """

    def __init__(self, size: int = 256, keep_truth: bool = False) -> None:
        self.size = size
        self.keep_truth = keep_truth

    def transform(self, results: dict) -> dict:  # noqa: D102
        if self.keep_truth:
            results['truth'] = results['img']
        results['img'] = resize_photo(results['img'], self.size)
        return results


@TRANSFORMS.register_module()
class PackColorization(BaseTransform):
    """Makes the runner's form: `inputs` with `image` (3, H, W) uint8 RGB, `data_samples` a `ColorizationSample`.

    The sample's truth is the image, or what a `ResizePhoto` kept of it at another size.
    """

    def transform(self, results: dict) -> dict:  # noqa: D102
        image = to_tensor(results['img'])
        sample = ColorizationSample(gt_rgb=to_tensor(results['truth']) if 'truth' in results else image)
        sample.set_metainfo({key: results[key] for key in ('img_path', 'image_size') if key in results})
        return {'inputs': {'image': image}, 'data_samples': sample}
