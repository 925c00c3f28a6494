"""Semantic-driven colorization: a segmenter says what each pixel is, a colour network paints from grey and map.

Shape legend: N photos, S the networks' input size, K classes.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from insta_colorization.colorspace import from_signed, to_signed
from insta_colorization.models.backbones import Colors
from insta_colorization.models.colorizer import Batch, Colorizer
from insta_colorization.registry import MODELS
from insta_colorization.structures import SEMANTIC_CLASSES, UNKNOWN, ColorizationSample

MapSource = Literal['predicted', 'truth', 'none']


class _Semantic(Colorizer):
    """What both training stages share: the segmenter."""

    uses = frozenset({'map'})
    native_size = 352

    def __init__(self, networks: dict[str, dict], data_preprocessor: dict | None = None, **kwargs: Any) -> None:
        preprocessor = {'type': 'SemanticPreprocessor', **(data_preprocessor or {})}
        super().__init__(networks, data_preprocessor=preprocessor, **kwargs)

    def segment(self, gray: Tensor) -> Tensor:
        """The class (N, S, S) int64 of each pixel of grey photos (N, 1, S, S) in 0..1."""
        logits = self.run(self.segment_net, gray)
        if logits.shape[-2:] != gray.shape[-2:]:
            logits = F.interpolate(logits, size=gray.shape[-2:], mode='bilinear', align_corners=False)
        return logits.argmax(dim=1)


@MODELS.register_module()
class SemanticSegmenter(_Semantic):
    """Training stage 1: the segmenter alone, which leaves photos grey.

    Args:
        segment_net: config of the segmenter.
        losses: see `Colorizer`; by default the cross-entropy of the classes.
        kwargs: see `Colorizer`.
    """

    def __init__(self, segment_net: dict | None = None, losses: dict[str, dict] | None = None, **kwargs: Any) -> None:
        losses = {'classes': {'type': 'SemanticCrossEntropy'}} if losses is None else losses
        super().__init__({'segment_net': segment_net or {'type': 'GridSegmenter'}}, losses=losses, **kwargs)

    def colors(self, batch: Batch, classify: bool = False) -> Colors:
        """Grey, ab (N, 2, S, S) of zeros, and the classes' logits (N, K, S / s, S / s)."""
        return Colors(torch.zeros_like(batch['gray']).expand(-1, 2, -1, -1), self.run(self.segment_net, batch['gray']))

    def predict(self, batch: Batch, dtype: torch.dtype = torch.float32) -> list[ColorizationSample]:
        """See `Colorizer.predict`; the samples also get `pred_map`, (S, S) uint8 on the CPU."""
        ids = self.segment(batch['gray'])
        samples = batch.get('data_samples') or [ColorizationSample() for _ in ids]
        for sample, gray in zip(samples, batch['gray'], strict=True):
            sample.pred_ab = torch.zeros_like(gray).expand(2, -1, -1)
        _keep_maps(samples, ids)
        return samples


@MODELS.register_module()
class SemanticColorizer(_Semantic):
    """The published system: segmenter and colour network.

    The colours follow the user's map, else the segmenter's.

    Args:
        segment_net: config of the segmenter.
        color_net: config of the colour network.
        map_source: what colours follow in prediction where the user gives no map: the segmenter's map, 'predicted'; the
            true map of a dataset, 'truth', filled up by the segmenter where it says nothing; or the background
            everywhere, 'none'.
        map_guidance: factor on what a user's map changes of the colours that the segmenter's map would give, after the
            guidance of diffusion models (Ho and Salimans 2022); for networks that believe the photo more than the map.
        wrap: whether `--native-size` lets colours that 8 bits cannot hold wrap to the opposite hue, as the published
            program's window does, instead of clipping them.
        trainable: see `Colorizer`; by default the colour network, training stage 2.
        kwargs: see `Colorizer`.

    Raises:
        ValueError: there is no such source of maps.
    """

    derived = {'color_net': None}
    stage = 2

    def __init__(
        self,
        segment_net: dict | None = None,
        color_net: dict | None = None,
        *,
        map_source: MapSource = 'predicted',
        map_guidance: float = 1.0,
        wrap: bool = False,
        trainable: Sequence[str] = ('color_net',),
        **kwargs: Any,
    ) -> None:
        if map_source not in get_args(MapSource):
            raise ValueError(f'map_source must be one of {", ".join(get_args(MapSource))}, but got {map_source!r}')
        networks = {
            'segment_net': segment_net or {'type': 'GridSegmenter'},
            'color_net': color_net or {'type': 'SemanticColorNet'},
        }
        super().__init__(networks, trainable=trainable, **kwargs)
        self.map_source = map_source
        self.map_guidance = map_guidance
        self.wrap = wrap

    def describe(self) -> dict[str, Any]:  # noqa: D102
        return {**super().describe(), 'map_source': self.map_source, 'map_guidance': self.map_guidance}

    def maps(self, batch: Batch, source: MapSource | None = None) -> Tensor:
        """The maps (N, S, S) int64 that the colours of a batch follow; `source` None is `map_source`."""
        source = source or self.map_source
        given, true = batch['given_map'], batch['true_map']
        known = torch.where(given == UNKNOWN, true, given) if source == 'truth' else given
        if source == 'none':
            return known.masked_fill(known == UNKNOWN, 0)
        if (known != UNKNOWN).all():
            return known
        return torch.where(known == UNKNOWN, self.segment(batch['gray']), known)

    def colors(self, batch: Batch, classify: bool = False) -> Colors:
        """Colours of grey photos, `gray` (N, 1, S, S), by their `map` (N, S, S) or, without one, by `maps`.

        Where there is a `seen_map` (N, S, S) as well, the map is what leads away from it, see `guide`.
        """
        ids = batch['map'] if 'map' in batch else self.maps(batch)
        ab = from_signed(self.run(self.color_net, batch['gray'], ids))
        if 'seen_map' in batch:
            ab = self.guide(from_signed(self.run(self.color_net, batch['gray'], batch['seen_map'])), ab)
        return Colors(ab)

    def guide(self, seen: Tensor, given: Tensor) -> Tensor:
        """Colours that differ `map_guidance` times as far from those of the segmenter's map as those of a given one."""
        return seen + self.map_guidance * (given - seen)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """See `Colorizer.loss`; in training colours follow the true map, and the segmenter's where nobody has said."""
        return super().loss({**batch, 'map': self.maps(batch, 'truth')})

    def predict(self, batch: Batch, dtype: torch.dtype = torch.float32) -> list[ColorizationSample]:
        """See `Colorizer.predict`; the samples also get `pred_map`, (S, S) uint8 on the CPU: what colours follow."""
        batch = {**batch, 'map': self.maps(batch)}
        if self.map_guidance != 1 and (batch['given_map'] != UNKNOWN).any():
            batch['seen_map'] = self.segment(batch['gray'])
        samples = super().predict(batch, dtype)
        _keep_maps(samples, batch['map'])
        return samples

    def notes(self, sample: ColorizationSample) -> dict[str, Any]:
        """Where the map comes from, and which share of the photo each of its classes has, largest first."""
        source = 'given' if 'given_map' in sample else self.map_source
        counts = np.bincount(sample.pred_map.numpy().ravel())
        order = [number for number in (-counts).argsort(kind='stable') if counts[number]]
        shares = {SEMANTIC_CLASSES[number]: round(float(counts[number] / counts.sum()), 4) for number in order}
        return {'map': source, 'classes': shares}

    def native_picture(self, image: np.ndarray, sample: ColorizationSample, gain: float = 1.0) -> np.ndarray:
        """The published picture: grey stands in 8-bit Lab as lightness, which darkens it, and all is cut to 8 bits.

        Args:
            image: (H, W, 3) uint8 RGB.
            sample: with its `pred_ab`.
            gain: factor on the colour.

        Returns:
            (S, S, 3) uint8 RGB; S is 352 unless another size was asked for.
        """
        size = sample.pred_ab.shape[-1]
        gray = torch.from_numpy(self.data_preprocessor.published_gray(image, size)).float() / 255
        codes = published_codes(gray, to_signed(sample.pred_ab.cpu() * gain), self.wrap)
        return cv2.cvtColor(codes, cv2.COLOR_LAB2RGB)


def published_codes(gray: Tensor, ab: Tensor, wrap: bool = False) -> np.ndarray:
    """The published pipeline's 8-bit Lab, whose rounding takes one off dark greys and makes a colour of 0.

    Args:
        gray: (H, W) in 0..1.
        ab: (2, H, W), the colour network's output.
        wrap: whether what 8 bits cannot hold wraps instead of being clipped.

    Returns:
        (H, W, 3) uint8.
    """
    # In float32 and in this order: what is cut off depends on it.
    codes = (torch.cat([((gray - 0.5) / 0.5)[None], ab]) * 0.5 + 0.5) * 255
    whole = codes if wrap else codes.clamp(0, 255)
    return np.ascontiguousarray(whole.int().movedim(0, -1).numpy().astype(np.uint8))


def _keep_maps(samples: Sequence[ColorizationSample], maps: Tensor) -> None:
    for sample, ids in zip(samples, maps.byte().cpu(), strict=True):
        sample.pred_map = ids
