"""Photo transforms: RGB uint8 HWC in `results['img']`, until `PackColorization` makes tensors of it.

`results['instances']` (what the networks use) and `results['gt_instances']` (the true ones) are `Instances` of the
current `img`: crops and flips move them along, and with them every other `PhotoField` in `results`. A transform that
cannot go on says why in `results['skipped']` and gives None; the dataset then takes another photo. RGB -> Lab happens
once, on the device, in the data preprocessor.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from insta_colorization.colorspace import rgb_to_lab
from insta_colorization.detectors.selection import select
from insta_colorization.imaging.photo import ImageReadError, load_rgb
from insta_colorization.imaging.resize import crop_instances, resize_photo, to_tensor
from insta_colorization.registry import TRANSFORMS
from insta_colorization.structures import ColorizationSample, Instances, PhotoField
from insta_colorization.utils.ranges import share

# Records of the dataset and what `LoadInstances` makes of them.
_INSTANCES_OF = {'annotations': 'instances', 'gt_annotations': 'gt_instances'}
# The published code measures how grey a photo is at this size.
GREY_SIZE = 256


def ab_span(photo: np.ndarray) -> float:
    """How far the colours of a photo (H, W, 3) uint8 RGB reach: the wider of its ranges of a and b, in Lab units."""
    ab = rgb_to_lab(to_tensor(photo) / 255)[1:].flatten(1)
    return float((ab.amax(dim=1) - ab.amin(dim=1)).max())


class GreyPhotoError(ImageReadError):
    """A photo has too little colour to be learnt from; the message has its span of a and b."""


def load_colour(file: str | os.PathLike[str] | BinaryIO, min_ab_range: float) -> np.ndarray:
    """Reads a photo, (H, W, 3) uint8 RGB, by `imaging.load_rgb` and refuses a grey one.

    A photo of which neither a nor b spans `min_ab_range` Lab units at 256 x 256 is grey; 0 takes all.

    Raises:
        ImageReadError: there is no readable photo.
        GreyPhotoError: it is grey.
    """
    photo = load_rgb(file)
    if min_ab_range > 0:
        span = ab_span(resize_photo(photo, GREY_SIZE))
        if span < min_ab_range:
            raise GreyPhotoError(f'{file} is grey: its a and b span {span:.1f} of at least {min_ab_range}')
    return photo


@TRANSFORMS.register_module()
class LoadPhoto(BaseTransform):
    """Reads `results['img_path']` by `load_colour`; a photo that cannot be used gives None.

    Args:
        keep_broken: whether such a photo becomes a black one of 8 x 8 pixels with the reason in `results['skipped']`
            instead, so that testing can count it.
        min_ab_range: see `load_colour`; a grey photo is not used.
    """

    def __init__(self, keep_broken: bool = False, min_ab_range: float = 0) -> None:
        self.keep_broken = keep_broken
        self.min_ab_range = min_ab_range

    def transform(self, results: dict) -> dict | None:  # noqa: D102
        try:
            results['img'] = load_colour(results['img_path'], self.min_ab_range)
        except ImageReadError as error:
            results['skipped'] = str(error)
            if not self.keep_broken:
                return None
            results['img'] = np.zeros((8, 8, 3), np.uint8)
        results['image_size'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadInstances(BaseTransform):
    """Makes `Instances` of the dataset's records, scaled with the photo and clipped to it.

    `annotations` become `instances`, `gt_annotations` become `gt_instances` and, the number of their crowds, `crowds`.
    What the dataset was not given stays away. A photo whose shape is not that of its annotations gives None.

    Args:
        masks: whether to make masks as well, of polygons and RLE; without one the mask is the box.
    """

    def __init__(self, masks: bool = False) -> None:
        self.masks = masks

    def transform(self, results: dict) -> dict | None:  # noqa: D102
        size = results['img'].shape[:2]
        if size != results['image_size']:
            raise ValueError(f'LoadInstances needs the photo as loaded, {results["image_size"]}, but it is {size} now')
        try:
            for record, name in _INSTANCES_OF.items():
                if record in results:
                    broken = 'skipped' in results
                    results[name] = Instances.empty(size) if broken else results[record].on(size, self.masks)
        except ValueError as error:
            results['skipped'] = f'{results["img_path"]}: {error}'
            return None
        if 'gt_annotations' in results:
            results['crowds'] = results['gt_annotations'].crowds
        return results


def move(results: dict, image: np.ndarray, change: str, *args: Any) -> dict:
    """Replaces the photo by `image`, and changes all that moves with it by a method of `PhotoField` and its arguments.

    Raises:
        ValueError: instances were cut out already, so their crops would no longer be those of the photo; or a grey
            picture was made of it, by `AgePhoto` for instance, which would no longer show it.
    """
    for made, by in (('crops', 'CropInstances'), ('gray', 'what makes their grey picture')):
        if made in results and change != 'resize':
            raise ValueError(f'photos are cropped and flipped before {by}, but that came first')
    results['img'] = image
    fields = {name: value for name, value in results.items() if isinstance(value, PhotoField)}
    results.update({name: getattr(value, change)(*args) for name, value in fields.items()})
    return results


@TRANSFORMS.register_module()
class RandomCropPhoto(BaseTransform):
    """Keeps a random window whose sides are a random fraction of the photo's, and the instances' parts inside it.

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
        height, width = np.maximum((fraction * image.shape[:2]).round().astype(int), 1).tolist()
        top = np.random.randint(image.shape[0] - height + 1)
        left = np.random.randint(image.shape[1] - width + 1)
        rows, columns = slice(top, top + height), slice(left, left + width)
        return move(results, image[rows, columns], 'crop', rows, columns)


@TRANSFORMS.register_module()
class RandomFlipPhoto(BaseTransform):
    """Mirrors half of the photos left to right, with their instances."""

    def transform(self, results: dict) -> dict:  # noqa: D102
        if np.random.rand() < 0.5:
            return move(results, results['img'][:, ::-1], 'flip')
        return results


@TRANSFORMS.register_module()
class SelectInstances(BaseTransform):
    """Keeps the instances that are worth colouring on their own, as `selection.select` does, in `results['instances']`.

    Without boxes in the dataset it does nothing, unless they are required or the true ones are asked for.

    Args:
        score_thr, min_size, top_k: see `select`.
        order: which ones stay: the best by `score`, or `random` ones.
        source: where they come from: `instances`, or `gt_instances` for the true ones.
        required: whether a photo of which none stays gives None; for training.
    """

    def __init__(
        self,
        score_thr: float = 0.0,
        min_size: float = 0.0,
        top_k: int | None = 8,
        order: str = 'score',
        source: str = 'instances',
        required: bool = False,
    ) -> None:
        if order not in ('score', 'random'):
            raise ValueError(f"order must be 'score' or 'random', but got {order!r}")
        if source not in _INSTANCES_OF.values():
            raise ValueError(f'source must be one of {", ".join(_INSTANCES_OF.values())}, but got {source!r}')
        self.score_thr = score_thr
        self.min_size = min_size
        self.top_k = top_k
        self.order = order
        self.source = source
        self.required = required

    def describe(self) -> dict[str, Any]:
        """What a protocol says about the instances that the networks get."""
        names = ('source', 'order', 'score_thr', 'min_size', 'top_k')
        return {'selection': {name: getattr(self, name) for name in names}}

    def transform(self, results: dict) -> dict | None:  # noqa: D102
        if self.source not in results and self.source == 'instances' and not self.required:
            return results
        found = _instances(results, self.source, 'SelectInstances')
        kept = self._select(found)
        if self.required and not len(kept):
            limits = f'score >= {self.score_thr} and sides of {self.min_size} pixels'
            results['skipped'] = f'{results["img_path"]} has {len(found)} boxes, none with {limits}'
            return None
        results['instances'] = kept
        return results

    def _select(self, found: Instances) -> Instances:
        if self.order == 'score' or self.top_k is None:
            return select(found, self.score_thr, self.min_size, self.top_k)
        kept = select(found, self.score_thr, self.min_size)
        return kept[np.sort(np.random.permutation(len(kept))[: self.top_k])]


def _instances(results: dict, name: str, wanted_by: str) -> Instances:
    if name not in results:
        raise ValueError(f'{wanted_by} needs `{name}`, but the dataset has none or LoadInstances did not come before')
    return results[name]


@TRANSFORMS.register_module()
class RandomInstanceWindows(BaseTransform):
    """Moves the networks' boxes to random windows about them: a part of an object, or the object and its surroundings.

    Detectors do not agree in what they box, a face or the whole person; networks that have seen windows take either.
    Windows of at least the network's size are as sharp as the crops of large photos. The published training has the
    boxes alone. Only `instances` move; they lose their masks, which say nothing about the surroundings.

    Args:
        scale: least and greatest factor on the sides of a box, drawn uniformly in its logarithm.
        min_size: the least side in pixels, as far as the photo reaches.
        prob: the share of the boxes that move.

    Raises:
        ValueError: the factors are not positive or not in order, the share lies outside [0, 1], or the crops were cut
            already.
    """

    def __init__(self, scale: tuple[float, float] = (0.5, 2.0), min_size: int = 0, prob: float = 1.0) -> None:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f'scale must be two positive factors, the lesser first, but got {tuple(scale)}')
        self.scale = scale
        self.min_size = min_size
        self.prob = share('prob', prob)

    def transform(self, results: dict) -> dict:  # noqa: D102
        found = _instances(results, 'instances', 'RandomInstanceWindows')
        if 'crops' in results:
            raise ValueError('RandomInstanceWindows comes before CropInstances, but that came first')
        height, width = results['img'].shape[:2]
        windows = [self._window(box, height, width) for box in found.in_pixels().tolist()]
        results['instances'] = replace(found, boxes=torch.tensor(windows).reshape(-1, 4), masks=None)
        return results

    def _window(self, box: list[int], height: int, width: int) -> list[int]:
        if np.random.rand() >= self.prob:
            return box
        factor = np.exp(np.random.uniform(*np.log(self.scale)))
        x0, x1 = self._side(box[0], box[2], factor, width)
        y0, y1 = self._side(box[1], box[3], factor, height)
        return [x0, y0, x1, y1]

    def _side(self, start: int, end: int, factor: float, length: int) -> tuple[int, int]:
        """A side that holds the box's where it is longer, and lies in it where it is shorter."""
        size = min(max(round((end - start) * factor), self.min_size, 1), length)
        low, high = sorted((start, end - size))
        first = int(np.clip(np.random.randint(low, high + 1), 0, length - size))
        return first, first + size


@TRANSFORMS.register_module()
class CropInstances(BaseTransform):
    """Cuts the instances out of the photo, at its own resolution: `results['crops']` (R, size, size, 3) uint8.

    After `AgePhoto` also out of the grey picture that looks old: `results['crop_gray']` (R, size, size) uint8.
    Without boxes in the dataset it does nothing.

    Args:
        size: the side of the squares in pixels, a multiple of 8.
    """

    def __init__(self, size: int = 256) -> None:
        self.size = size

    def transform(self, results: dict) -> dict:  # noqa: D102
        if 'instances' in results:
            results['crops'] = crop_instances(results['img'], results['instances'], self.size)
            if 'gray' in results:
                results['crop_gray'] = crop_instances(results['gray'], results['instances'], self.size)
        return results


@TRANSFORMS.register_module()
class CropToInstance(BaseTransform):
    """The photo becomes one of its instances, at random, as in the published training of the instance network.

    `instances` and `gt_instances` go, since they lie in the photo that was. A photo without instances gives None.
    """

    def transform(self, results: dict) -> dict | None:  # noqa: D102
        instances = _instances(results, 'instances', 'CropToInstance')
        if not len(instances) and 'skipped' not in results:
            results['skipped'] = f'{results["img_path"]} has no instance to crop to'
            return None
        for name in _INSTANCES_OF.values():
            results.pop(name, None)
        if len(instances):
            x0, y0, x1, y1 = instances.in_pixels()[np.random.randint(len(instances))].tolist()
            rows, columns = slice(y0, y1), slice(x0, x1)
            move(results, results['img'][rows, columns], 'crop', rows, columns)
        return results


@TRANSFORMS.register_module()
class ResizePhoto(BaseTransform):
    """Squashes the photo to a square, whatever its aspect, as the published code does.

    Instances keep referring to the photo as it was: the networks bring their boxes to any grid (`Instances.on_grid`).
    Other fields are resized as they see fit (`PhotoField.resize`).

    Args:
        size: its side in pixels, a multiple of 8.
        keep_truth: whether the photo as it was before is what predictions are compared with.
    """

    def __init__(self, size: int = 256, keep_truth: bool = False) -> None:
        self.size = size
        self.keep_truth = keep_truth

    def describe(self) -> dict[str, Any]:
        """What a protocol says about the networks' input."""
        return {
            'network_size': self.size,
            'resize': 'squashed whatever the aspect, Pillow bilinear with antialiasing',
        }

    def transform(self, results: dict) -> dict:  # noqa: D102
        if self.keep_truth:
            results['truth'] = results['img']
        if 'gray' in results:
            results['gray'] = resize_photo(results['gray'], self.size)
        return move(results, resize_photo(results['img'], self.size), 'resize', (self.size, self.size))


@TRANSFORMS.register_module()
class PackColorization(BaseTransform):
    """Makes the runner's form.

    `inputs` has `image` (3, S, S) uint8 RGB and, after `CropInstances`, `crops` (R, 3, S, S) uint8. `data_samples` is a
    `ColorizationSample`; its truth is the image, or what a `ResizePhoto` kept of it at another size. Every `PhotoField`
    in `results` is a field of it.

    Args:
        inputs: names of further arrays in `results` that become tensors of `inputs`, as they are.
        meta: names of further meta information, such as a caption.
    """

    def __init__(self, inputs: Sequence[str] = (), meta: Sequence[str] = ()) -> None:
        self.inputs = tuple(inputs)
        self.meta = ('img_path', 'image_size', 'skipped', 'crowds', *meta)

    def transform(self, results: dict) -> dict:  # noqa: D102
        inputs = {'image': to_tensor(results['img'])}
        if 'crops' in results:
            inputs['crops'] = to_tensor(results['crops'])
        inputs |= {name: torch.from_numpy(np.array(results[name])) for name in self.inputs if name in results}
        sample = ColorizationSample(gt_rgb=to_tensor(results['truth']) if 'truth' in results else inputs['image'])
        sample.set_data({name: value for name, value in results.items() if isinstance(value, PhotoField)})
        sample.set_metainfo({key: results[key] for key in self.meta if key in results})
        return {'inputs': inputs, 'data_samples': sample}
