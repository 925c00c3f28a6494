"""Arithmetic on the weights of whole networks: the mean of trainings, and what a training changed, on another start."""

from collections.abc import Sequence

import torch

from .families import Checkpoint, StateDict, shapes_of
from .safe_load import CheckpointError

BASE = 'image_net'


def require_same_settings(first: Checkpoint, other: Checkpoint) -> None:
    """Insists that two checkpoints want the same of a colorizer, such as its `mask_centre`: one file can say it once.

    Args:
        first: a checkpoint whose networks go into one file with those of the other.
        other: the other one, of the same family.

    Raises:
        CheckpointError: a setting differs.
    """
    if first.settings != other.settings:
        own, theirs = (
            ', '.join(f'{name}={value:g}' for name, value in checkpoint.settings.items())
            for checkpoint in (first, other)
        )
        raise CheckpointError(
            f'only trainings with the same settings can be combined, but {first.path} was trained with {own} and '
            f'{other.path} with {theirs}'
        )


def averaged(checkpoints: Sequence[Checkpoint]) -> StateDict:
    """The mean of trainings that began with the same weights (Wortsman et al. 2022, Model soups).

    Counters are the first checkpoint's. Means of batch-norm statistics are not those that a pass over photos measures,
    but are near them as long as the trainings are near each other.

    Args:
        checkpoints: at least one.

    Returns:
        {our name: tensor}, floating-point ones in float32.

    Raises:
        CheckpointError: two of them differ in their networks, in those networks' sizes or in their settings.
    """
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if (other.family, other.networks, other.sizes) != (first.family, first.networks, first.sizes):
            raise CheckpointError(
                f'only checkpoints of the same networks have a mean, but {first.path} holds {first.summary} and '
                f'{other.path} holds {other.summary}'
            )
        require_same_settings(first, other)
    return {
        name: torch.stack([checkpoint.state_dict[name] for checkpoint in checkpoints]).mean(dim=0)
        if value.is_floating_point()
        else value
        for name, value in first.state_dict.items()
    }


def rebased(weights: StateDict, onto: Checkpoint) -> StateDict:
    """A system whose full-image network was trained on: the others keep what they had learnt beside it.

    Every entry of another network that `image_net` has too becomes the new `image_net`'s plus the difference between
    the two of before (Ilharco et al. 2023, Editing models with task arithmetic), so that a part which the networks
    share stays shared. The entries of their own, such as the fusions', stay as they are.

    Args:
        weights: {our name: tensor} of whole networks, `image_net` among them.
        onto: the new `image_net`, and no other network.

    Returns:
        {our name: tensor} of the same networks.

    Raises:
        CheckpointError: one of them has no `image_net`, the new file has more than that, or the two do not fit.
    """
    if onto.networks != (BASE,):
        raise CheckpointError(f'{onto.path} must hold {BASE} alone, but holds {", ".join(onto.networks)}')
    before = {name: value for name, value in weights.items() if name.startswith(f'{BASE}.')}
    now = onto.state_dict
    if shapes_of(before) != shapes_of(now):
        held = f'an {BASE} of {len(before)} entries with other names or shapes' if before else f'no {BASE}'
        raise CheckpointError(f'{onto.path} holds {onto.summary} ({len(now)} entries), but the system has {held}')

    def moved(name: str, value: torch.Tensor) -> torch.Tensor:
        twin = f'{BASE}.{name.split(".", 1)[1]}'
        if twin not in before or not value.is_floating_point():
            return now.get(name, value)
        return now[twin] + (value - before[twin])

    return {name: moved(name, value) for name, value in weights.items()}
