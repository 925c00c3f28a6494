"""The loss by which colours have to follow the words.

Shape legend: N photos, S the network's input size.
"""

import torch
from torch import Tensor, nn

from insta_colorization.colorspace import AB_RANGE
from insta_colorization.models.backbones import Colors
from insta_colorization.models.colorizer import Batch, Colorizer
from insta_colorization.registry import MODELS

from .colors import color_of
from .pairs import BASIC


@MODELS.register_module()
class CounterColorLoss(nn.Module):
    """Another colour in the caption must lead away from the true colour, where that is the one that it names.

    The network runs again, on the captions with other colours (`SwapColors`). A pixel has the named colour if that
    is the nearest to its own of the basic ones. It costs max(0, margin - distance), with the distance from the colour
    by the other caption to the true one. The paper's loss is not known; this one is ours.

    Args:
        loss_weight: factor.
        margin: in network units.
    """

    classify = False
    palette: Tensor

    def __init__(self, loss_weight: float = 0.1, margin: float = 0.2) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.margin = margin
        # Black, white and gray are one.
        known = dict.fromkeys(color_of(name) or (0.0, 0.0) for name in BASIC)
        self.register_buffer('palette', torch.tensor(list(known)) / AB_RANGE, persistent=False)

    def of_batch(self, colorizer: Colorizer, batch: Batch, colors: Colors) -> Tensor:
        """The loss, a scalar; 0 where no caption names a colour.

        Args:
            colorizer: the model that trains.
            batch: with `counter_captions`, N texts, '' where nothing was swapped, and `named_colors`, for each photo
                the colours (K, 2) in network units that its caption names.
            colors: of the true captions.
        """
        rows = [number for number, caption in enumerate(batch['counter_captions']) if caption]
        if not rows:
            return colors.ab.sum() * 0
        captions = [batch['counter_captions'][row] for row in rows]
        countered = colorizer.colors({'lightness': batch['lightness'][rows], 'captions': captions}).ab.float()
        true = batch['ab'][rows]
        named = torch.stack(
            [self._named(truth, batch['named_colors'][row]) for truth, row in zip(true, rows, strict=True)]
        )
        short = (self.margin - (countered - true).square().sum(dim=1).add(1e-12).sqrt()).clamp(min=0)
        return self.loss_weight * (short * named).sum() / named.sum().clamp(min=1)

    def _named(self, true: Tensor, names: Tensor) -> Tensor:
        """(S, S) bool, where colours (2, S, S) are nearest to what some names (K, 2) stand for."""
        nearest = torch.cdist(true.flatten(1).T, self.palette).argmin(dim=1)
        wanted = torch.cdist(names.to(self.palette), self.palette).argmin(dim=1)
        return torch.isin(nearest, wanted).view(true.shape[1:])
