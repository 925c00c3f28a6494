"""Which instances of a photo are worth colouring on their own: one rule for training, inference and evaluation."""

import torch
from torch import Tensor

from insta_colorization.structures import Instances


def select(instances: Instances, score_thr: float = 0.0, min_size: float = 0.0, top_k: int | None = None) -> Instances:
    """Drops weak, small and repeated instances of one image, then keeps the best `top_k`.

    Better means a higher score and, at equal scores, the larger box. The published code leaves the file's order alone
    when it keeps every box and returns ascending scores when it had to choose; networks do not care, but goldens do.

    Args:
        instances: instances of a single image.
        score_thr: the lowest score that stays.
        min_size: the shortest side that stays, in pixels.
        top_k: how many stay at most; None keeps all.

    Returns:
        `Instances` of the same image; in their given order, or from worst to best if `top_k` cut some off.

    Raises:
        ValueError: instances of several images, or a negative `top_k`.
    """
    if instances.num_images != 1:
        raise ValueError(f'select takes the instances of one image, but got those of {instances.num_images}')
    if top_k is not None and top_k < 0:
        raise ValueError(f'top_k must be at least 0 or None, but got {top_k}')
    sides = instances.boxes[:, 2:] - instances.boxes[:, :2]
    kept = instances[(instances.scores >= score_thr) & (sides >= min_size).all(dim=1)]
    kept = kept[_best_of_each_box(kept)]
    if top_k is None or len(kept) <= top_k:
        return kept
    return kept[kept.worst_to_best()[len(kept) - top_k :]]


def _best_of_each_box(instances: Instances) -> Tensor:
    """(R,) bool: of boxes that are exactly equal only the best stays."""
    if not len(instances):
        return torch.zeros(0, dtype=torch.bool, device=instances.boxes.device)
    rank = instances.worst_to_best().argsort()
    boxes, group = instances.boxes.unique(dim=0, return_inverse=True)
    best = rank.new_full((len(boxes),), -1).scatter_reduce(0, group, rank, 'amax')
    return rank == best[group]
