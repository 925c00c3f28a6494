"""Metrics that look through a pretrained network, and how its weights get here."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .base import NotComputableError, PhotoMetric

TIMEOUT_SECONDS = 10


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
            f'{path} is damaged or another file: its sha256 begins with {digest[: len(expected)]} instead of '
            f'{expected}; put there what {url} has'
        )
    return path


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _fetch(url: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _short_timeout():
            torch.hub.download_url_to_file(url, str(path), progress=False)
    except (OSError, HTTPException) as error:
        reason = getattr(error, 'reason', None) or error
        raise NotComputableError(
            f'the weights {path.name} are neither in {path.parent} nor can they be fetched ({reason}); '
            f'put the file from {url} there'
        ) from error


@contextmanager
def _short_timeout() -> Iterator[None]:
    """Within it a connection that stays silent is given up; `torch.hub` itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
