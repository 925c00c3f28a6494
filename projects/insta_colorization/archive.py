"""Which photos a run colours and under which names their results go."""

import glob
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .imaging import READABLE_SUFFIXES, ImageReadError, Photo, decode_photo, read_photo

URL_SCHEMES = ('http://', 'https://')


@dataclass(frozen=True, eq=False)
class Job:
    """One photo to colour.

    Attributes:
        source: its file, its URL, or its pixels (an array as `Photo.from_array` takes it).
        target: the file to write, or None.
        name: what messages and records call it.
    """

    source: Path | str | np.ndarray
    target: Path | None
    name: str

    def load(self) -> Photo:
        """Reads the photo.

        Raises:
            ImageReadError: there is no readable photo.
            ValueError: an array is not a photo.
        """
        if isinstance(self.source, np.ndarray):
            return Photo.from_array(self.source)
        if isinstance(self.source, Path):
            return read_photo(self.source)
        return decode_photo(_download(self.source), self.source)


def plan(
    inputs: Iterable[str | Path | np.ndarray],
    out_dir: str | Path | None = None,
    recursive: bool = False,
    suffix: str = '.png',
) -> list[Job]:
    """Lists the photos behind the inputs, folders in numeric order, and gives each result its own name.

    Args:
        inputs: files, folders, glob patterns, URLs or arrays.
        out_dir: folder of the results; None when nothing is written.
        recursive: whether folders are searched to their depths; the results mirror their sub-folders.
        suffix: of the results; 'same' keeps each photo's own.

    Returns:
        One job a photo; a file that is named twice is done once. `<stem><suffix>` is the result's name; photos that would
        share it get their own suffix into theirs, `<stem>_<suffix>.png`, and a number where that is not enough, so that
        repeating a run finds the same names.

    Raises:
        FileNotFoundError: an input is neither a file nor a folder, or a pattern matches nothing.
        ValueError: a folder holds no photo.
    """
    found: dict[str, tuple[Path | str | np.ndarray, Path]] = {}
    for index, item in enumerate(inputs):
        if isinstance(item, np.ndarray):
            found[f'array {index}'] = (item, Path(f'array_{index}'))
        elif str(item).startswith(URL_SCHEMES):
            found[str(item)] = (str(item), Path(str(item).partition('?')[0]).relative_to(Path(str(item)).parent))
        else:
            for path, relative in _expand(Path(item).expanduser(), recursive):
                found.setdefault(str(path.resolve()), (path, relative))
    if out_dir is None:
        return [
            Job(source, None, str(source) if isinstance(source, Path) else name) for name, (source, _) in found.items()
        ]
    targets = _distinct([relative for _, relative in found.values()], suffix)
    return [
        Job(source, Path(out_dir) / target, str(source) if isinstance(source, Path) else name)
        for (name, (source, _)), target in zip(found.items(), targets, strict=True)
    ]


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Sorts `frame10` behind `frame9`."""
    parts = re.split(r'(\d+)', str(path).lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def _expand(path: Path, recursive: bool) -> list[tuple[Path, Path]]:
    """Photos behind one path, folder or pattern, each with its name relative to the folder it was found in."""
    if path.is_dir():
        candidates = path.rglob('*') if recursive else path.iterdir()
        photos = sorted((p for p in candidates if p.suffix.lower() in READABLE_SUFFIXES), key=natural_key)
        if not photos:
            deeper = '' if recursive else '; --recursive looks into its sub-folders'
            raise ValueError(f'the folder {path} holds no photo ({", ".join(READABLE_SUFFIXES)}){deeper}')
        return [(photo, photo.relative_to(path)) for photo in photos]
    if path.is_file():
        return [(path, Path(path.name))]
    if not glob.has_magic(str(path)):
        raise FileNotFoundError(f'{path} does not exist')
    matches = sorted((Path(match) for match in glob.glob(str(path), recursive=True)), key=natural_key)
    photos = [match for match in matches if match.is_file()]
    if not photos:
        raise FileNotFoundError(f'no file matches the pattern {path}')
    return [(photo, Path(photo.name)) for photo in photos]


def _distinct(names: Sequence[Path], suffix: str) -> list[Path]:
    def named(name: Path, stem: str) -> Path:
        return name.with_name(stem + (name.suffix.lower() if suffix == 'same' else suffix))

    plain = [named(name, name.stem) for name in names]
    shared = {target for target, count in Counter(plain).items() if count > 1}
    targets: list[Path] = []
    taken = set(plain) - shared
    for name, target in zip(names, plain, strict=True):
        if target in shared:
            stem = f'{name.stem}_{name.suffix[1:].lower()}'
            target, number = named(name, stem), 2
            while target in taken:
                target, number = named(name, f'{stem}-{number}'), number + 1
            taken.add(target)
        targets.append(target)
    return targets


def _download(url: str) -> bytes:
    from mmengine.fileio import get

    try:
        return get(url)
    except OSError as error:
        raise ImageReadError(f'cannot read {url}: {error}') from error
