"""Frechet distances between the features of true and of predicted pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from insta_colorization.detectors.encoder import FrozenEncoder
from insta_colorization.registry import METRICS
from insta_colorization.utils.configs import DEFAULT_WEIGHTS

from .base import NotComputableError
from .pretrained import NetworkMetric, pretrained_file

_SIDE = 256  # of the pictures that the encoder sees
FAMILIES = {
    'tf': 'Inception of 2015 as ported from TensorFlow (pt_inception-2015-12-05-6726825d.pth)',
    'torchvision': "torchvision's Inception v3 (inception_v3_google-0cc3c7bd.pth)",
}


class FrechetMetric(NetworkMetric):
    """The Frechet distance between all truths and all predictions, by the package `pytorch-fid`; less is better.

    With fewer pictures than features it is far too high; compare only values of equally many pictures.
    """

    per_photo = False

    def features(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, H, W), RGB in 0..1, to (N, features) or (N, features, 1, 1)."""
        raise NotImplementedError

    @torch.no_grad()
    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, np.ndarray]:
        """Features (F,) float32 of truth and prediction."""
        features = self.features(torch.stack([truth, prediction]).to(self.device).float() / 255)
        first, second = features.flatten(start_dim=1).cpu().numpy()
        return {'truth': first, 'prediction': second}

    def summarize(self, values: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:  # noqa: D102
        try:
            from pytorch_fid.fid_score import calculate_frechet_distance
        except ImportError as error:
            raise NotComputableError(f'{error}: pip install pytorch-fid torchvision') from error
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


@METRICS.register_module()
class FID(FrechetMetric):
    """FID (Heusel et al. 2017), the distance between 2048 features of Inception.

    Args:
        family: whose Inception makes the features, `tf` (the original) or `torchvision`; both are in use.
        kwargs: see `PhotoMetric`.

    Raises:
        ValueError: the family is unknown.
    """

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

    def features(self, pictures: Tensor) -> Tensor:  # noqa: D102
        (features,) = self.network(pictures)
        return features


class _Pooled(nn.Module):
    """The coarsest features of the encoder that ships with the weights, averaged over each picture."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = FrozenEncoder(DEFAULT_WEIGHTS, ['enc32'])

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0..1 -> (N, 320)."""
        same = F.interpolate(pictures, (_SIDE, _SIDE), mode='bilinear', antialias=True)
        return self.encoder((same * 255).round().byte())['enc32'].mean(dim=(2, 3))


@METRICS.register_module()
class EncoderFrechet(FrechetMetric):
    """The distance between 320 features of the encoder under the weights that ship; not FID, and without a download.

    Its values change with the encoder: compare those of one protocol.
    """

    name = 'Frechet_encoder'

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.protocol = (
            f'320 pooled features of the encoder in {DEFAULT_WEIGHTS.name}, pictures brought to {_SIDE} x {_SIDE} '
            'bilinearly; not FID; compare only values of equally many pictures and of the same encoder'
        )

    def load(self) -> nn.Module:  # noqa: D102
        return _Pooled()

    def features(self, pictures: Tensor) -> Tensor:  # noqa: D102
        return self.network(pictures)
