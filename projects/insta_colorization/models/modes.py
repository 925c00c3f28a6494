"""The different colours that a thing may have, from the distribution that the class head gives it."""

from typing import NamedTuple

import torch
from torch import Tensor

from insta_colorization.colorspace import AB_RANGE

# Colours nearer to a mode than this, in Lab units, belong to it.
_REACH = 22.0


class Mode(NamedTuple):
    """A colour that a thing may have.

    Attributes:
        ab: in network units.
        share: how much of the distribution lies around it, 0..1.
    """

    ab: tuple[float, float]
    share: float


def find_modes(shares: Tensor, centres: Tensor, count: int) -> list[Mode]:
    """Takes the colour with most of a distribution around it, then that of what is left, and so on.

    Args:
        shares: (Q,) how likely each class is; they add up to 1.
        centres: (Q, 2) the classes' colours in network units.
        count: how many modes at most.

    Returns:
        The modes, most likely first; each is the mean of the part of the distribution that it takes.
    """
    near = AB_RANGE * torch.cdist(centres, centres) <= _REACH
    left = shares.clone()
    modes: list[Mode] = []
    while len(modes) < count and left.sum() > 1e-4:
        own = near[(near * left).sum(dim=1).argmax()]
        share = left[own].sum()
        a, b = ((left[own, None] * centres[own]).sum(dim=0) / share).tolist()
        modes.append(Mode((a, b), float(share)))
        left[own] = 0
    return modes
