"""From a photo and its class map to what the networks get.

Shape legend: N photos, S the networks' input size.
"""

from collections.abc import Collection
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from insta_colorization.colorspace import luma, rgb_to_lab, to_network
from insta_colorization.imaging.resize import resize_photo
from insta_colorization.registry import MODELS
from insta_colorization.structures import UNKNOWN, ColorizationSample, Request, SemanticMap, check_classes

Order = Literal['recorded', 'window']


@MODELS.register_module()
class SemanticPreprocessor(BaseDataPreprocessor):
    """Packs photos as grey squares with their maps; grey is OpenCV's 8-bit luma, in training too.

    Args:
        native_order: how the published pipeline squashes, which `--native-size` repeats: 'recorded' resizes the grey
            photo linearly, 'window', the published program's own window, resizes the colour photo cubically.
        kwargs: see `mmengine.model.BaseDataPreprocessor`.

    Raises:
        ValueError: there is no such order.
    """

    def __init__(self, native_order: Order = 'recorded', **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if native_order not in get_args(Order):
            raise ValueError(f'native_order must be one of {", ".join(get_args(Order))}, but got {native_order!r}')
        self.native_order = native_order

    def pack(self, image: np.ndarray, request: Request, size: int, uses: Collection[str]) -> dict[str, Any]:
        """What the networks get of one photo; arguments as of `Colorizer.pack`.

        Returns:
            `inputs` with `gray` (S, S) uint8; `data_samples`, a `ColorizationSample` with, where the request has a map,
            `full_map`, that, and `given_map`, the same for the networks, (S, S).

        Raises:
            ValueError: the request's map has a number that is no class.
        """
        gray = self.published_gray(image, size) if request.native else to_gray(resize_photo(image, size))
        sample = ColorizationSample()
        sample.set_metainfo({'native': request.native})
        if request.map is not None:
            check_classes(request.map)
            sample.full_map = SemanticMap(request.map.astype(np.uint8, copy=False))
            sample.given_map = sample.full_map.resize((size, size))
        return {'inputs': {'gray': torch.from_numpy(gray)}, 'data_samples': sample}

    def published_gray(self, image: np.ndarray, size: int) -> np.ndarray:
        """The grey square (S, S) uint8 that the published pipeline makes of a photo (H, W, 3) uint8 RGB."""
        if self.native_order == 'window':
            return to_gray(cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC))
        return cv2.resize(to_gray(image), (size, size), interpolation=cv2.INTER_LINEAR)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Converts a collated batch.

        Args:
            data: `inputs` with `gray`, N tensors (S, S) uint8, or `image`, N tensors (3, S, S) uint8 RGB, or both;
                `data_samples`, N samples: of `pack`, or of a dataset with the true `semantic_map` where there is one.
            training: whether this is a training batch.

        Returns:
            `gray` (N, 1, S, S) in 0..1; `given_map` (N, S, S) and `true_map` (N, S, S), int64, `UNKNOWN` where nobody
            has said; with an image, its true `ab` (N, 2, S, S) in network units. All on the device. `data_samples`.
        """
        inputs, samples = self.cast_data(data['inputs']), data['data_samples']
        batch: dict[str, Any] = {'data_samples': samples}
        if 'image' in inputs:
            image = torch.stack(list(inputs['image']))
            gray = luma(image)
            _, batch['ab'] = to_network(rgb_to_lab(image.float() / 255))
        if 'gray' in inputs:
            gray = torch.stack(list(inputs['gray']))[:, None]
        batch['gray'] = gray.float() / 255
        for name, field in {'given_map': 'given_map', 'true_map': 'semantic_map'}.items():
            batch[name] = _maps(samples, field, gray)
        return batch


def to_gray(image: np.ndarray) -> np.ndarray:
    """The 8-bit grey (H, W) of a photo (H, W, 3) uint8 RGB."""
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)


def _maps(samples: list[ColorizationSample], name: str, like: Tensor) -> Tensor:
    """The samples' maps (N, S, S) int64 on the device of a batch (N, 1, S, S)."""
    size = (like.shape[-2], like.shape[-1])
    nothing = SemanticMap(np.full(size, UNKNOWN, np.uint8))
    maps = [sample.get(name, nothing).resize(size).ids for sample in samples]
    return torch.from_numpy(np.stack(maps)).to(like.device).long()
