"""From a photo and its caption to what the network gets."""

from collections.abc import Collection
from typing import Any

import numpy as np

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
        """See `ColorizationPreprocessor.forward`; the batch also has `captions`, N texts."""
        captions = [sample.get('caption', '') for sample in data['data_samples']]
        return {**super().forward(data, training), 'captions': captions}
