"""Frechet Inception distance."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from insta_colorization.registry import METRICS

from .base import NotComputableError
from .pretrained import NetworkMetric, pretrained_file

FAMILIES = {
    'tf': 'Inception of 2015 as ported from TensorFlow (pt_inception-2015-12-05-6726825d.pth)',
    'torchvision': "torchvision's Inception v3 (inception_v3_google-0cc3c7bd.pth)",
}


@METRICS.register_module()
class FID(NetworkMetric):
    """FID (Heusel et al. 2017) between all truths and all predictions, by the package `pytorch-fid`; less is better.

    With fewer pictures than features (2048) it is far too high; compare only values of equally many pictures.

    Args:
        family: whose Inception makes the features, `tf` (the original) or `torchvision`; both are in use.
        kwargs: see `PhotoMetric`.

    Raises:
        ValueError: the family is unknown.
    """

    per_photo = False

    def __init__(self, family: str = 'tf', **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if family not in FAMILIES:
            raise ValueError(f'family must be one of {", ".join(FAMILIES)}, but got {family!r}')
        self.family = family
        self.name = f'FID_{family}'
        self.protocol = (
            f'pytorch-fid, 2048 pooled features of {FAMILIES[family]}, pictures brought to 299 x 299 bilinearly; '
            'compare only values of equally many pictures'
        )

    def load(self) -> nn.Module:  # noqa: D102
        try:
            from pytorch_fid import inception
            from torchvision.models import Inception_V3_Weights
        except ImportError as error:
            raise NotComputableError(f'{error}: pip install pytorch-fid torchvision') from error
        original = self.family == 'tf'
        pretrained_file(inception.FID_WEIGHTS_URL if original else Inception_V3_Weights.DEFAULT.url)
        return inception.InceptionV3(use_fid_inception=original)

    @torch.no_grad()
    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, np.ndarray]:
        """Features (2048,) float32 of truth and prediction."""
        network = self.network
        (features,) = network(torch.stack([truth, prediction]).to(self.device).float() / 255)
        first, second = features.flatten(start_dim=1).cpu().numpy()
        return {'truth': first, 'prediction': second}

    def summarize(self, values: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:  # noqa: D102
        from pytorch_fid.fid_score import calculate_frechet_distance

        if len(values) < 2:
            raise NotComputableError(f'a covariance needs at least 2 pictures, but there is {len(values)}')
        statistics = []
        for name in ('truth', 'prediction'):
            features = np.stack([value[name] for value in values]).astype(np.float64)
            statistics += [features.mean(axis=0), np.cov(features, rowvar=False)]
        try:
            distance = calculate_frechet_distance(*statistics)
        except ValueError as error:
            raise NotComputableError(f'the root of the covariances is not real: {error}') from error
        return {self.name: float(distance)}
