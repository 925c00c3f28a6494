"""Which photos a run colours and under which names their results go."""

import glob
import os
import re
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np

from insta_colorization.imaging.photo import (
    READABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    ImageReadError,
    Photo,
    Source,
    as_photo,
    decode_photo,
    photos_below,
)
from insta_colorization.utils.options import ResultOptions

URL_SCHEMES = ('http://', 'https://')
OWN_SUFFIX = 'same'
DEFAULT_SUFFIX = '.png'
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, eq=False)
class Job:
    """One photo to colour.

    Attributes:
        source: its file, its URL, or its pixels, for `load`.
        target: the file to write, or None.
        name: what messages and records call it.
    """

    source: Path | str | np.ndarray
    target: Path | None
    name: str


def load(source: Source) -> Photo:
    """Reads a photo from a URL or from what `as_photo` takes; raises as that does."""
    if isinstance(source, str) and source.startswith(URL_SCHEMES):
        return decode_photo(_download(source), source)
    return as_photo(source)


class _Found(NamedTuple):
    """A photo before it has a target: its source, its name in messages, its path below the folder it was found in."""

    source: Path | str | np.ndarray
    name: str
    relative: Path


def plan(
    inputs: Iterable[str | os.PathLike[str] | np.ndarray],
    out_dir: str | os.PathLike[str] | None = None,
    recursive: bool = False,
    suffix: str = ResultOptions.suffix,
) -> list[Job]:
    """Lists the photos behind the inputs, folders in numeric order, and gives each result its own name.

    The same inputs give the same names again, so that a run that was stopped goes on when it is repeated. What lies in
    `out_dir` is no photo of a folder that contains it.

    Args:
        inputs: files, folders, glob patterns, URLs or arrays.
        out_dir: folder of the results; None when nothing is written.
        recursive: whether folders are searched to their depths; the results mirror their sub-folders.
        suffix: of the results; 'same' keeps each photo's own where that can be written and is '.png' elsewhere.

    Returns:
        One job a photo; a file that is named twice is done once. `<stem><suffix>` is the result's name; photos that
        would share it get their own suffix into theirs, `<stem>_<suffix>.png`, and a number where that is not enough.

    Raises:
        FileNotFoundError: an input is neither a file nor a folder, or a pattern matches nothing.
        TypeError: an input is neither a path nor an array.
        ValueError: a folder holds no photo, the suffix is unknown, or a result would replace a photo.
    """
    suffix = checked_suffix(suffix)
    results = None if out_dir is None else Path(out_dir)
    found: dict[str, _Found] = {}
    for index, item in enumerate(inputs):
        for photo in _find(item, index, recursive, results):
            key = os.path.abspath(photo.name) if isinstance(photo.source, Path) else photo.name
            found.setdefault(key, photo)
    photos = list(found.values())
    if results is None:
        return [Job(photo.source, None, photo.name) for photo in photos]
    targets = [results / name for name in _distinct([photo.relative for photo in photos], suffix)]
    _require_other_files(photos, targets)
    return [Job(photo.source, target, photo.name) for photo, target in zip(photos, targets, strict=True)]


def checked_suffix(suffix: str) -> str:
    """A format as a suffix, `.png` from `png`, `PNG` or `.png`; 'same' stays.

    Raises:
        ValueError: no format of that name can be written.
    """
    if suffix == OWN_SUFFIX:
        return suffix
    dotted = f'.{suffix.removeprefix(".").lower()}'
    if dotted not in WRITABLE_SUFFIXES:
        known = ', '.join(known.removeprefix('.') for known in WRITABLE_SUFFIXES)
        raise ValueError(f'the format of the results must be one of {known} or {OWN_SUFFIX}, but got {suffix!r}')
    return dotted


def natural_key(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Sorts `frame10` behind `frame9`; the path itself decides between `Frame9` and `frame9`."""
    parts = re.split(r'(\d+)', str(path).lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts], str(path)


def _find(item: object, index: int, recursive: bool, results: Path | None) -> Iterator[_Found]:
    if isinstance(item, np.ndarray):
        yield _Found(item, f'array {index}', Path(f'array_{index}'))
        return
    if not isinstance(item, str | os.PathLike):
        raise TypeError(f'an input must be a path, a pattern, a URL or an array, but got {type(item).__name__}')
    text = os.fspath(item)
    if not text:
        raise ValueError("an input must be a path, a pattern or a URL, but got ''")
    if text.startswith(URL_SCHEMES):
        name = Path(unquote(urlsplit(text).path)).name
        yield _Found(text, text, Path('photo' if name in ('', '..') else name))
        return
    for photo, relative in _expand(Path(text).expanduser(), recursive, results):
        yield _Found(photo, str(photo), relative)


def _expand(path: Path, recursive: bool, results: Path | None) -> list[tuple[Path, Path]]:
    """Photos behind one path, folder or pattern, each with the path that its result mirrors."""
    if path.is_dir():
        photos = _photos_in(path, recursive, results)
        if not photos:
            deeper = '' if recursive else '; --recursive looks into its sub-folders'
            raise ValueError(f'the folder {path} holds no photo ({", ".join(READABLE_SUFFIXES)}){deeper}')
        return [(photo, photo.relative_to(path)) for photo in photos]
    if path.is_file():
        return [(path, Path(path.name))]
    if not glob.has_magic(str(path)):
        raise FileNotFoundError(f'{path} does not exist')
    matches = (Path(match) for match in glob.glob(str(path), recursive=True))
    photos = sorted((match for match in matches if match.is_file()), key=natural_key)
    if not photos:
        raise FileNotFoundError(f'no file matches the pattern {path}')
    fixed = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
    return [(photo, photo.relative_to(fixed) if recursive else Path(photo.name)) for photo in photos]


def _photos_in(folder: Path, recursive: bool, results: Path | None) -> list[Path]:
    """A folder's photos in numeric order."""
    own = None if results is None else results.resolve()
    if own == folder.resolve():
        raise ValueError(
            f'the results would lie among the photos of {folder}, where the next run would take them for photos; '
            'choose another output folder'
        )
    photos = photos_below(folder, recursive)
    if recursive and own is not None and own.is_relative_to(folder.resolve()):
        photos = (path for path in photos if not path.resolve().is_relative_to(own))
    return sorted(photos, key=natural_key)


def _distinct(names: Sequence[Path], suffix: str) -> list[Path]:
    def named(name: Path, stem: str) -> Path:
        own = name.suffix.lower() if name.suffix.lower() in WRITABLE_SUFFIXES else DEFAULT_SUFFIX
        return name.with_name(stem + (own if suffix == OWN_SUFFIX else suffix))

    plain = [named(name, name.stem) for name in names]
    shared = {target for target, count in Counter(plain).items() if count > 1}
    targets: list[Path] = []
    taken = set(plain) - shared
    for name, target in zip(names, plain, strict=True):
        if target in shared:
            stem = '_'.join(filter(None, (name.stem, name.suffix[1:].lower())))
            target, number = named(name, stem), 2
            while target in taken:
                target, number = named(name, f'{stem}-{number}'), number + 1
            taken.add(target)
        targets.append(target)
    return targets


def _require_other_files(photos: Sequence[_Found], targets: Sequence[Path]) -> None:
    sources = {photo.source.resolve() for photo in photos if isinstance(photo.source, Path)}
    for photo, target in zip(photos, targets, strict=True):
        if target.resolve() in sources:
            raise ValueError(
                f'the result of {photo.name} would replace the photo {target}; choose another output folder or format'
            )


def _download(url: str) -> bytes:
    # Some servers turn away whatever calls itself Python-urllib.
    request = urllib.request.Request(url, headers={'User-Agent': 'insta_colorization'})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            return response.read()
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, 'reason', None) or error
        raise ImageReadError(f'cannot read {url}: {reason}') from error
