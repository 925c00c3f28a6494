"""Where each instance counted: the weights of the fusion, kept while the networks run."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from insta_colorization.structures import ColorizationSample

from .colorizers import InstColorizer, NetworkColorizer


def parse_rows(names: Sequence[str], known: Collection[str]) -> list[str]:
    """Row names such as `conv3` from row names or the paper's layer numbers, 3 for conv3; each once.

    Args:
        names: what was asked for.
        known: the network's rows.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    rows = {f'conv{name}' if name.isdecimal() else name: name for name in names}
    for row, name in rows.items():
        if row not in known:
            number = ', or 3 for conv3' if 'conv3' in known else ''
            raise ValueError(f'there is no layer {name!r}; known are {", ".join(known)}{number}')
    return list(rows)


def fusion_rows(model: nn.Module, names: Sequence[str]) -> list[str]:
    """`parse_rows` of a model's fusion.

    Raises:
        ValueError: an unknown name, or the model fuses nothing.
    """
    if not names:
        return []
    rows = parse_rows(names, model.rows) if isinstance(model, NetworkColorizer) else []
    if not isinstance(model, InstColorizer):
        raise ValueError('there are no fusion weights to show: the checkpoint holds the full-image network alone')
    return rows


@contextmanager
def recorded_shares(model: InstColorizer, rows: Sequence[str]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Within it every forward pass leaves the fusion weights of these rows in the dictionary it yields.

    Yields:
        {row: (shares of the fused images (N, 1, H, W), shares of their instances (R, 1, H, W))}.

    Raises:
        ValueError: the network does not fuse at one of the rows.
    """
    if missing := [row for row in rows if row not in model.fusion_net.fused_rows]:
        fused = ', '.join(model.fusion_net.fused_rows) or 'no layer'
        raise ValueError(f'there are no fusion weights at {", ".join(missing)}: this network fuses at {fused}')
    shares: dict[str, tuple[Tensor, Tensor]] = {}
    fusions: dict[str, Any] = {row: model.fusion_net.fusions[row] for row in rows}
    handles = []
    for row, fusion in fusions.items():
        fusion.record = True
        # args are the image's feature and the canvas with the instances' weights
        handles.append(
            fusion.register_forward_hook(lambda _, args, __, row=row: shares.update({row: args[1].shares()}))
        )
    try:
        yield shares
    finally:
        for fusion, handle in zip(fusions.values(), handles, strict=True):
            fusion.record = False
            handle.remove()


def keep_shares(samples: Sequence[ColorizationSample], shares: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Gives each sample with instances its part of what `recorded_shares` recorded of their batch.

    It is called `fusion_shares`: for each row the share of the photo (h, w) and those of its instances (R, h, w).
    """
    first = 0
    for index, sample in enumerate(sample for sample in samples if len(sample.instances)):
        mine = slice(first, first + len(sample.instances))
        sample.fusion_shares = {row: (image[index, 0], own[mine, 0]) for row, (image, own) in shares.items()}
        first = mine.stop
