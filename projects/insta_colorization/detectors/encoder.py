"""The colour networks' encoder, as the detectors on top of it see it."""

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from insta_colorization.checkpoints.io import find_entries
from insta_colorization.checkpoints.safe_load import read_file
from insta_colorization.fileio.files import write_whole
from insta_colorization.registry import build_model

_PREFIX = 'image_net.encoder.'


class FrozenEncoder:
    """The encoder inside colour weights. It never trains, and it is in no checkpoint of what is trained on top of it.

    Args:
        weights: colour weights on the light backbone, as they ship or as a training saves them.
        rows: names of the features to give.
        cache: a folder that keeps the features of every picture, in half precision, so that a picture which comes again
            costs no time; for trainings with a fixed number of views (`ColorizationDataset.views`).

    Attributes:
        sha256: of the encoder's values, whatever the file around them.
        feature_info: {row: channels and stride} of the rows given.

    Raises:
        CheckpointError: the file cannot be read.
        ValueError: it holds no such encoder, or the encoder has no such row.
    """

    def __init__(self, weights: str | Path, rows: Sequence[str], cache: str | Path | None = None) -> None:
        entries = _encoder_entries(Path(weights))
        net = build_model({'type': 'EfficientNetLite'}).eval().requires_grad_(False)
        try:
            net.load_state_dict(entries)
        except RuntimeError as error:
            raise ValueError(f'{weights} holds another encoder than {type(net).__name__}: {error}') from error
        if unknown := [row for row in rows if row not in net.feature_info]:
            raise ValueError(f'the encoder has no row {unknown[0]!r}, but has {", ".join(net.feature_info)}')
        self.sha256 = _sha256(entries)
        self.feature_info = {row: net.feature_info[row] for row in rows}
        self._net = net.to(memory_format=torch.channels_last)
        self._cache = None if cache is None else Path(cache) / self.sha256[:16]

    def __deepcopy__(self, memo: dict) -> Self:
        # An averaged copy of a model needs no copy of what never changes.
        return self

    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        """The features of pictures.

        Args:
            pictures: grey (N, H, W) or RGB (N, 3, H, W), uint8, sRGB; sides are multiples of 32.

        Returns:
            {row: (N, channels, H / stride, W / stride)} float32.
        """
        if self._cache is None:
            return self._encode(pictures)
        files = [self._cache / f'{_digest(picture)}.pt' for picture in pictures]
        if new := [number for number, file in enumerate(files) if not file.is_file()]:
            encoded = self._encode(pictures[new])
            for index, number in enumerate(new):
                _store({row: feature[index] for row, feature in encoded.items()}, files[number])
        # Those just stored are read as well, so that the first time is like all others.
        stored = [torch.load(file, weights_only=True) for file in files]
        return {
            row: torch.stack([item[row] for item in stored]).to(pictures.device).float() for row in self.feature_info
        }

    def copied_above(self, row: str) -> Any:
        """A trainable copy of what follows a feature in the encoder, which gives the features from there on.

        Raises:
            ValueError: nothing follows it.
        """
        net = build_model({'type': 'EfficientNetLite', 'above': row})
        entries = self._net.state_dict()
        net.load_state_dict({name: entries[name] for name in net.state_dict()})
        return net.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def _encode(self, pictures: Tensor) -> dict[str, Tensor]:
        self._net.to(pictures.device)
        features: dict[str, Tensor] = {}
        for row, feature in self._net((pictures if pictures.dim() == 4 else pictures[:, None]).float() / 255):
            if row in self.feature_info:
                features[row] = feature
            if len(features) == len(self.feature_info):
                break
        return features


class TunedEncoder(nn.Module):
    """The encoder up to one feature as it is, and a copy of what follows that learns what the task needs.

    Args:
        weights, cache: see `FrozenEncoder`.
        rows: names of the features to give, all of them above `above`.
        above: the last feature of the part that stays as it is.

    Attributes:
        sha256, feature_info: see `FrozenEncoder`; the copy is no part of the sha256.

    Raises:
        CheckpointError, ValueError: see `FrozenEncoder`; or a row is not above that feature.
    """

    def __init__(self, weights: str | Path, rows: Sequence[str], above: str, cache: str | Path | None = None) -> None:
        super().__init__()
        self._frozen, self.above = FrozenEncoder(weights, [above], cache), above
        self.sha256 = self._frozen.sha256
        self.copy = self._frozen.copied_above(above)
        if lower := [row for row in rows if row not in self.copy.feature_info]:
            gives = ', '.join(self.copy.feature_info)
            raise ValueError(f'the copy of the encoder above {above} gives {gives}, but not {lower[0]!r}')
        self.feature_info = {row: self.copy.feature_info[row] for row in rows}

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """The features of pictures; see `FrozenEncoder.__call__`."""
        features = dict(self.copy(self._frozen(pictures)[self.above]))
        return {row: features[row] for row in self.feature_info}


def encoder_for(
    weights: str | Path, rows: Sequence[str], above: str | None = None, cache: str | Path | None = None
) -> FrozenEncoder | TunedEncoder:
    """The encoder that stays as it is or, where `above` names a feature, the one that learns from there on.

    Arguments and errors are those of `FrozenEncoder` and `TunedEncoder`.
    """
    return FrozenEncoder(weights, rows, cache) if above is None else TunedEncoder(weights, rows, above, cache)


def _encoder_entries(path: Path) -> dict[str, Tensor]:
    entries: Any = find_entries(read_file(path)) or {}
    held = {name.removeprefix(_PREFIX): v for name, v in entries.items() if name.startswith(_PREFIX)}
    if not held:
        raise ValueError(f'{path} holds no encoder: none of its {len(entries)} entries begins with {_PREFIX}')
    return {name: value.float() if value.is_floating_point() else value for name, value in held.items()}


def _sha256(entries: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(entries.items()):
        if value.is_floating_point():  # not the counters of batches, which no prediction reads
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _digest(picture: Tensor) -> str:
    shape = repr(tuple(picture.shape)).encode()
    return hashlib.blake2b(picture.cpu().numpy().tobytes() + shape, digest_size=16).hexdigest()


def _store(features: dict[str, Tensor], file: Path) -> None:
    buffer = BytesIO()
    torch.save({row: feature.half().cpu().contiguous() for row, feature in features.items()}, buffer)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(buffer.getvalue(), file)
