"""From a photo and its caption to what the network gets."""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from insta_colorization.colorspace import AB_RANGE
from insta_colorization.models.insta import ColorizationPreprocessor
from insta_colorization.registry import MODELS
from insta_colorization.structures import Request


@MODELS.register_module()
class LanguagePreprocessor(ColorizationPreprocessor):
    """Packs photos with their captions; no caption is an empty one."""

    def pack(self, image: np.ndarray, request: Request, size: int, uses: Collection[str]) -> dict[str, Any]:
        """See `ColorizationPreprocessor.pack`; the sample's metadata have the `caption`."""
        data = super().pack(image, request, size, uses)
        data['data_samples'].set_metainfo({'caption': request.caption or ''})
        return data

    def forward(self, data: dict, training: bool = False) -> dict:
        """See `ColorizationPreprocessor.forward`; the batch has more.

        `captions`, N texts; in training also `counter_captions`, N texts with other colours, '' where there are none,
        and `named_colors`, the colours (K, 2) in network units that they were.
        """
        batch, samples = super().forward(data, training), data['data_samples']
        batch['captions'] = [sample.get('caption', '') for sample in samples]
        if training:
            batch['counter_captions'] = [sample.get('counter_caption', '') for sample in samples]
            batch['named_colors'] = [torch.tensor(s.get('named_colors', ())).view(-1, 2) / AB_RANGE for s in samples]
        return batch
