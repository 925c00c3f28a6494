"""Metrics that look through a pretrained network, and how its weights get here."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from insta_colorization.fileio.download import fetch, sha256

from .base import NotComputableError, PhotoMetric


class NetworkMetric(PhotoMetric):
    """A metric with a network, which is loaded when the first photo comes and runs on the model's device.

    Without its weights the metric is not computed; it never runs on random ones.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._network: nn.Module | None = None
        self._failure: NotComputableError | None = None

    def load(self) -> nn.Module:
        """The network with its pretrained weights.

        Raises:
            NotComputableError: its library or its weights are not there.
        """
        raise NotImplementedError

    @property
    def network(self) -> nn.Module:
        """The network in evaluation mode on `device`; one failure to load it counts for all photos.

        Raises:
            NotComputableError: its library or its weights are not there.
        """
        if self._failure is not None:
            raise self._failure
        if self._network is None:
            try:
                self._network = self.load().eval().requires_grad_(False)
            except NotComputableError as error:
                self._failure = error
                raise
        return self._network.to(self.device)


def pretrained_file(url: str) -> Path:
    """The file of weights that `torch.hub` keeps for a URL; it is fetched if it is not there.

    Args:
        url: its name ends in a part of the file's sha256, as in `vgg16-397923af.pth`.

    Raises:
        NotComputableError: the file cannot be fetched, or is another one than its name says.
    """
    path = Path(torch.hub.get_dir()) / 'checkpoints' / url.rpartition('/')[2]
    if not path.is_file():
        _fetch(url, path)
    expected = path.stem.rpartition('-')[2]
    digest = sha256(path)
    if not digest.startswith(expected):
        raise NotComputableError(
            f'{_shown(path)} is damaged or another file: its sha256 begins with {digest[: len(expected)]} instead of '
            f'{expected}; put there what {url} has'
        )
    return path


def _shown(path: Path) -> str:
    """A path for a message, which results keep: whose home it lies in is nobody else's business."""
    home = Path.home()
    return f'~/{path.relative_to(home)}' if path.is_relative_to(home) else str(path)


def _fetch(url: str, path: Path) -> None:
    try:
        fetch(url, path)
    except OSError as error:
        raise NotComputableError(
            f'the weights {path.name} are neither in {_shown(path.parent)} nor can they be fetched ({error}); '
            f'put the file from {url} there'
        ) from error
