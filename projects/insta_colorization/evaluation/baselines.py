"""Baselines to compare networks with: photos in one tint, of which grey is the one without colour.

Shape legend: P photos, T tints, G = 256 levels of grey.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object
from torch import Tensor

from insta_colorization.colorspace import to_network
from insta_colorization.imaging.rendering import clipped_rgb
from insta_colorization.models import Colorizer, Colors
from insta_colorization.models.colorizer import Batch
from insta_colorization.registry import MODELS
from insta_colorization.structures import ColorizationSample

_NUM_LEVELS = 256
# Lab units: the first grid covers sRGB, each further one only what surrounds the best tint so far.
_FIRST_AXIS = torch.arange(-100.0, 101, 10)
_FINER_STEPS = (5, 2, 1, 0.5, 0.2, 0.1)


@MODELS.register_module()
class TintBaseline(Colorizer):
    """Gives every pixel of every photo the same colour; `fit_tint` finds the best one.

    Args:
        ab: a and b of the colour in Lab units.
        kwargs: see `Colorizer`.

    Raises:
        ValueError: there are not two coordinates.
    """

    def __init__(self, ab: Sequence[float] = (0.0, 0.0), **kwargs: Any) -> None:
        if len(ab) != 2:
            raise ValueError(f'a tint has two coordinates, a and b, but got {len(ab)}')
        super().__init__({}, **kwargs)
        a, b = ab
        self.ab = (float(a), float(b))

    def describe(self) -> dict[str, Any]:  # noqa: D102
        return {**super().describe(), 'tint': {'ab': list(self.ab), 'unit': 'CIELAB'}}

    def colors(self, batch: Batch, classify: bool = False) -> Colors:  # noqa: D102
        lightness = batch['lightness']
        tint = _ab_column(lightness.new_tensor([self.ab]))
        return Colors(tint.expand(len(lightness), 2, *lightness.shape[-2:]))


@MODELS.register_module()
class GrayBaseline(TintBaseline):
    """Leaves every photo grey: the tint without colour."""


def fit_tint(batches: Iterable[Mapping[str, Any]], num_photos: int) -> tuple[float, float]:
    """The tint that gives photos the highest mean PSNR, as `metrics.PSNR` measures it at the size of the truth.

    The fit rounds lightness to the 256 levels of grey, which costs some 0.002 dB. Of several processes each reads its
    own share of the photos, and all find the same tint.

    Args:
        batches: of a dataloader, with `data_samples`; photos that could not be read are left out.
        num_photos: how many photos the dataset has.

    Returns:
        a and b in Lab units, multiples of 0.1.

    Raises:
        ValueError: no photo could be read.
    """
    shares = all_gather_object([_levels(sample) for batch in batches for sample in batch['data_samples']])
    # In the order of the dataset, without the photos that fill the shares up: one process finds the very same.
    listed = list(chain.from_iterable(zip_longest(*shares)))[:num_photos]
    photos = Levels.stacked(photo for photo in listed if photo is not None)
    if not len(photos.pixels):
        raise ValueError(f'a tint is fitted to the photos, but none of the {num_photos} photos could be read')
    return _best_tint(photos)


class Levels(NamedTuple):
    """All that PSNR needs to know of photos that get one tint each: then a pixel's colour follows from its lightness.

    The truth's colours are integers, so that float64 holds their sums exactly.

    Attributes:
        pixels: (P, G), how many pixels have the level.
        colors: (P, 3 G), the sum of their true 8-bit R, then G, then B.
        squares: (P,), the sum of all squared true values.
    """

    pixels: Tensor
    colors: Tensor
    squares: Tensor

    @classmethod
    def of(cls, rgb: Tensor) -> Self:
        """Counts one photo (3, H, W) uint8; P = 1."""
        level = clipped_rgb(rgb, torch.zeros(2, 1, 1))[1].flatten().long()
        truth = rgb.flatten(1).double()
        colors = torch.stack([level.bincount(channel, _NUM_LEVELS) for channel in truth])
        pixels = level.bincount(minlength=_NUM_LEVELS).double()
        return cls(pixels[None], colors.view(1, -1), truth.square().sum().view(1))

    @classmethod
    def stacked(cls, photos: Iterable[Self]) -> Self:
        """Joins photos into P of them."""
        empty = (torch.empty(0, _NUM_LEVELS), torch.empty(0, 3 * _NUM_LEVELS), torch.empty(0))
        return cls(*map(torch.cat, zip(empty, *photos, strict=True)))

    def mean_psnr(self, tints: Tensor) -> Tensor:
        """(T, 2) Lab units -> (T,), the mean over photos of the PSNR in dB that each tint gives."""
        palettes = _palettes(tints).double()
        products = self.colors @ palettes.flatten(1).T
        errors = self.squares[:, None] - 2 * products + self.pixels @ palettes.square().sum(1).T
        means = errors / (3 * self.pixels.sum(1, keepdim=True))
        return (10 * (255**2 / means).log10()).clamp(max=100).mean(0)


def _levels(sample: ColorizationSample) -> Levels | None:
    return None if sample.get('skipped') else Levels.of(sample.gt_rgb)


def _best_tint(photos: Levels) -> tuple[float, float]:
    tints = torch.cartesian_prod(_FIRST_AXIS, _FIRST_AXIS)
    around = torch.cartesian_prod(*[torch.arange(-2.0, 3)] * 2)
    # The middle comes first: 8-bit colours make many tints equal, and then the coarser one stays.
    around = around[around.norm(dim=1).argsort()]
    best = tints[photos.mean_psnr(tints).argmax()]
    for step in _FINER_STEPS:
        tints = best + step * around
        best = tints[photos.mean_psnr(tints).argmax()]
    a, b = best.tolist()
    return round(a, 1), round(b, 1)


def _palettes(tints: Tensor) -> Tensor:
    """The levels of grey in each tint: (T, 2) Lab units -> (T, 3, G) uint8 RGB."""
    # As one picture of T rows, each of which gets a tint.
    grey = torch.arange(_NUM_LEVELS, dtype=torch.uint8).expand(3, len(tints), -1)
    return clipped_rgb(grey, _ab_column(tints)).transpose(0, 1)


def _ab_column(tints: Tensor) -> Tensor:
    """(T, 2) Lab units -> ab (2, T, 1) in network units."""
    _, ab = to_network(F.pad(tints, (1, 0)).T[..., None])
    return ab
