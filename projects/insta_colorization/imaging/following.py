"""Lets predicted colours follow a user's hints exactly where the networks do not."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from insta_colorization.colorspace import AB_RANGE
from insta_colorization.structures import Hint, Size, hint_cells

# How far the edge of a moved colour fades to both sides, in cells of a grid of 256.
_FADE = 4


def follow_hints(ab: Tensor, hints: Sequence[Hint], size: Size) -> Tensor:
    """Moves the mean colour of each hinted thing to that of its hint, with edges that fade; detail of colour stays.

    Where the hint is paler than the thing, detail becomes weaker by as much: the shift that makes the mean of a cake
    with berries white would make its icing blue.

    Points (certainty 1) are left to the networks: moved, they would be dots.

    Args:
        ab: (2, S, S) in network units, over the whole photo.
        hints: in pixels of the photo; later ones lie on top. How far each moves is its `strict`, else all the way.
        size: (height, width) of the photo.

    Returns:
        (2, S, S) float32 in network units, on the CPU.
    """
    side = ab.shape[-1]
    fade = max(1, _FADE * side // 256)
    things = [hint for hint in hints if hint.certainty < 1]
    ab = ab.detach().to('cpu', torch.float32, copy=True)
    for hint, cells, inside in hint_cells(things, (0, 0, size[1], size[0]), side):
        place = ab.new_zeros(side, side)
        place[cells][inside] = 1
        near = tuple(slice(max(0, part.start - fade), part.stop + fade) for part in cells)
        own = place[near] > 0
        weight = F.avg_pool2d(place[near][None], 2 * fade + 1, 1, fade, count_include_pad=False)[0]
        part = ab[(slice(None), *near)]
        wanted, mean = ab.new_tensor(hint.ab) / AB_RANGE, part[:, own].mean(dim=1)
        lost = 1 - (wanted.norm() / mean.norm()).nan_to_num(1).clamp(max=1)
        shift = (wanted - mean) / weight[own].mean()
        detail = part - mean[:, None, None]
        part += (hint.strict or 1) * weight * (shift[:, None, None] - lost * detail)
    return ab
