"""Plans a run: which photos it colours, and the names of their results."""

import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from insta_colorization.fileio.download import download
from insta_colorization.fileio.files import files_below, identity_of
from insta_colorization.fileio.stores import StoredFile
from insta_colorization.imaging.photo import (
    MAP_SUFFIX,
    READABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    ImageReadError,
    Page,
    Photo,
    Source,
    as_photo,
    count_pages,
    decode_photo,
    is_shown,
)
from insta_colorization.utils.options import InputOptions, ResultOptions

logger = logging.getLogger(__name__)

URL_SCHEMES = ('http://', 'https://')
OWN_SUFFIX = 'same'
DEFAULT_SUFFIX = '.png'
# Side files are named after their result, with one of these suffixes.
SHEETS, RECORD = ('.instances.png', '.fusion.png', '.classes.png'), '.json'
SIDE_FILES = (*SHEETS, MAP_SUFFIX, RECORD)
# Photos that are not files.
Picture = np.ndarray | Image.Image | bytes
_TIMEOUT_SECONDS = 60
_MAX_BYTES = 2**29
_MAX_SECONDS = 300
# File systems allow 255 bytes, of which the suffixes of results and side files need some.
_LONGEST_NAME = 200
# How many suffixes the message about files that are not photos lists.
_MOST_NAMED = 8


@dataclass(frozen=True, eq=False)
class Job:
    """One photo to colour.

    Attributes:
        source: a local file or one in a store, a page of a file, a URL, bytes or pixels, for `load`.
        target: the file to write, or None.
        name: its name in messages and records.
    """

    source: Picture | Path | Page | StoredFile | str
    target: Path | None
    name: str

    @property
    def file(self) -> Path | None:
        """The local file of the photo; None if there is none."""
        return _file_of(self.source)


def load(source: Source | StoredFile, max_pixels: int = InputOptions.max_pixels) -> Photo:
    """Reads a photo from a URL, a store, or anything that `as_photo` takes; raises the same errors.

    Args:
        source: the photo.
        max_pixels: how many pixels a file may have, see `read_photo`.
    """
    if isinstance(source, str) and _is_url(source):
        return decode_photo(_download(source), without_password(source), max_pixels)
    if isinstance(source, StoredFile):
        return decode_photo(source.read(), without_password(source.address), max_pixels, source.page)
    return as_photo(source, max_pixels)


class _Found(NamedTuple):
    """A photo without a target: its source, its name in messages, its path below the folder it was found in."""

    source: Picture | Path | Page | str
    name: str
    relative: Path


def plan(
    inputs: Iterable[str | os.PathLike[str] | Picture],
    out_dir: str | os.PathLike[str] | None = None,
    recursive: bool = False,
    suffix: str = ResultOptions.suffix,
    pages: str = ResultOptions.pages,
    max_pixels: int = InputOptions.max_pixels,
) -> list[Job]:
    """Lists the photos behind the inputs, folders in numeric order, and gives each result its own name.

    The same inputs always give the same names, so that a stopped run can be resumed by repeating it. Files in `out_dir`
    do not count as photos of a folder that contains it.

    Args:
        inputs: files, folders, glob patterns, URLs, arrays, Pillow images, or the bytes of files.
        out_dir: folder for the results; None if nothing is written.
        recursive: whether to search sub-folders; the results mirror them.
        suffix: the format of the results; 'same' keeps each photo's own if it can be written, and else is '.png'.
        pages: which pages of files to colour: 'first', 'all' or a number from 1; of URLs always the first.
        max_pixels: how many pixels a file may have, see `read_photo`; one that has more counts as one page.

    Returns:
        One job per photo; a file that is given twice is coloured once. Results are named `<stem><suffix>`; photos that
        would share a name include their own suffix, `<stem>_<suffix>.png`, and a number if that is not enough.

    Raises:
        FileNotFoundError: an input is neither a file nor a folder, or a pattern matches nothing.
        TypeError: an input is none of these.
        ValueError: a folder holds no photo, the suffix is unknown, or a result would replace a photo.
    """
    suffix = checked_suffix(suffix)
    results = None if out_dir is None else Path(out_dir)
    found: dict[str, _Found] = {}
    for index, item in enumerate(inputs):
        for photo in _find(item, index, recursive, results):
            key = os.path.abspath(photo.name) if isinstance(photo.source, Path) else photo.name
            found.setdefault(key, photo)
    photos = [page for photo in found.values() for page in _pages_of(photo, pages, max_pixels)]
    if results is None:
        return [Job(photo.source, None, photo.name) for photo in photos]
    targets = [results / name for name in _distinct([photo.relative for photo in photos], suffix)]
    _require_other_files(photos, targets)
    return [Job(photo.source, target, photo.name) for photo, target in zip(photos, targets, strict=True)]


def _pages_of(photo: _Found, pages: str, max_pixels: int) -> list[_Found]:
    """The pages of a photo to colour, each as a photo; the file itself if it has only one."""
    if pages == ResultOptions.pages or not isinstance(photo.source, Path):
        return [photo]
    count = count_pages(photo.source, max_pixels) if pages == 'all' else 0
    if count == 1:
        return [photo]
    name = photo.relative
    return [
        _Found(
            Page(photo.source, number - 1),
            f'{photo.name} (page {number})',
            name_of_page(name, number),
        )
        for number in (range(1, count + 1) if count else [int(pages)])
    ]


def _file_of(source: Picture | Path | Page | StoredFile | str) -> Path | None:
    if isinstance(source, StoredFile):
        return source.path
    return source.file if isinstance(source, Page) else source if isinstance(source, Path) else None


def checked_suffix(suffix: str) -> str:
    """A format as a suffix: `.png` for `png`, `PNG` or `.png`; 'same' is returned unchanged.

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
    """A sort key that puts `frame10` after `frame9`; the path itself decides between `Frame9` and `frame9`."""
    parts = re.split(r'(\d+)', str(path).lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts], str(path)


def _find(item: object, index: int, recursive: bool, results: Path | None) -> Iterator[_Found]:
    if isinstance(item, np.ndarray | Image.Image | bytes):
        kind = 'array' if isinstance(item, np.ndarray) else 'bytes' if isinstance(item, bytes) else 'image'
        yield _Found(item, f'{kind} {index}', Path(f'{kind}_{index}'))
        return
    if not isinstance(item, str | os.PathLike):
        known = 'a path, a pattern, a URL, an array, bytes or an image'
        raise TypeError(f'an input must be {known}, but got {type(item).__name__}')
    text = os.fspath(item)
    if not text:
        raise ValueError("an input must be a path, a pattern or a URL, but got ''")
    if _is_url(text):
        yield _Found(text, without_password(text), Path(name_of_url(text)))
        return
    if '://' in text and not os.path.exists(text):
        raise ValueError(f'{without_password(text)} is no address that is read: only {" and ".join(URL_SCHEMES)} are')
    for photo, relative in _expand(Path(os.path.expanduser(text)), recursive, results):
        yield _Found(photo, str(photo), relative)


def _is_url(text: str) -> bool:
    return text.lower().startswith(URL_SCHEMES)


def without_password(url: str) -> str:
    """A URL without its user name and password, for messages and records."""
    return re.sub(r'(?<=://)[^/?#]*@', '', url)


def name_of_url(url: str) -> str:
    """The last part of a URL, or 'photo' if that cannot be a file name with suffixes added."""
    name = Path(unquote(urlsplit(url).path)).name
    unusable = name in ('', '..') or '\0' in name or len(os.fsencode(name)) > _LONGEST_NAME
    return 'photo' if unusable else name


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
    # The name of a folder may look like a pattern.
    fixed = next(parent for parent in path.parents if parent.is_dir() or not glob.has_magic(str(parent)))
    matches = (fixed / match for match in glob.glob(str(path.relative_to(fixed)), root_dir=fixed, recursive=True))
    photos = sorted((match for match in matches if match.is_file()), key=natural_key)
    if not photos:
        raise FileNotFoundError(f'no file matches the pattern {path}')
    return [(photo, photo.relative_to(fixed) if recursive else Path(photo.name)) for photo in photos]


def _photos_in(folder: Path, recursive: bool, results: Path | None) -> list[Path]:
    """A folder's photos in numeric order."""
    own = None if results is None else identity_of(results)
    if own is not None and own == identity_of(folder):
        raise ValueError(
            f'the results would lie among the photos of {folder}, where the next run would take them for photos; '
            'choose another output folder'
        )
    files = (path for path in files_below(folder, recursive) if is_shown(path.relative_to(folder)))
    if recursive and own is not None:
        inner = cache(lambda relative: identity_of(folder / relative))
        files = (path for path in files if own not in map(inner, path.relative_to(folder).parents))
    photos, others = [], Counter[str]()
    for path in files:
        if path.suffix.lower() in READABLE_SUFFIXES:
            photos.append(path)
        else:
            others[path.suffix.lower() or 'without a suffix'] += 1
    if others and photos:
        named = sorted(others.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_NAMED]
        logger.info('%s: left out %s', folder, ', '.join(f'{count} {suffix}' for suffix, count in named))
    return sorted(photos, key=natural_key)


def _distinct(names: Sequence[Path], suffix: str) -> list[Path]:
    plain = [result_name(name, suffix) for name in names]
    shared = {target for target, count in Counter(plain).items() if count > 1}
    targets: list[Path] = []
    taken = set(plain) - shared
    for name, target in zip(names, plain, strict=True):
        if target in shared:
            target = name_apart(name, suffix, taken)
            taken.add(target)
        targets.append(target)
    return targets


def _shortened(stem: str) -> str:
    """A stem that leaves room for the suffixes of a result and its side files."""
    while len(os.fsencode(stem)) > _LONGEST_NAME:
        stem = stem[:-1]
    return stem


def name_of_page(name: Path, number: int) -> Path:
    """What a page of a file, from 1, is called as if it were one: `scan_page2.tif`."""
    return name.with_name(f'{name.stem}_page{number}{name.suffix}')


def result_name(name: Path, suffix: str, stem: str | None = None) -> Path:
    """The name of a photo's result.

    Args:
        name: the photo's.
        suffix: that of a picture, from `checked_suffix`, is put in the place of the photo's own; that of data about the
            photo behind it, as `open_boxes` expects it.
        stem: in the place of the photo's own.
    """
    if suffix not in (OWN_SUFFIX, *WRITABLE_SUFFIXES):
        return name.with_name((name.name if stem is None else stem) + suffix)
    own = name.suffix.lower() if name.suffix.lower() in WRITABLE_SUFFIXES else DEFAULT_SUFFIX
    return name.with_name((_shortened(name.stem) if stem is None else stem) + (own if suffix == OWN_SUFFIX else suffix))


def name_apart(name: Path, suffix: str, taken: Container[Path]) -> Path:
    """A distinct name for a result that would share its name, see `plan`; `taken` names are skipped."""
    stem = '_'.join(filter(None, (_shortened(name.stem), name.suffix[1:].lower())))
    target, number = result_name(name, suffix, stem), 2
    while target in taken:
        target, number = result_name(name, suffix, f'{stem}-{number}'), number + 1
    return target


def _require_other_files(photos: Sequence[_Found], targets: Sequence[Path]) -> None:
    files = filter(None, (_file_of(photo.source) for photo in photos))
    sources = {identity_of(file) for file in files} - {None}
    for photo, target in zip(photos, targets, strict=True):
        for file in (target, *(target.with_name(target.name + ending) for ending in SIDE_FILES)):
            if identity_of(file) in sources:
                raise ValueError(
                    f'the result of {photo.name} would replace the photo {file}; choose another output folder or format'
                )


def _download(url: str) -> bytes:
    try:
        return b''.join(download(url, _TIMEOUT_SECONDS, _MAX_BYTES, _MAX_SECONDS))
    except OSError as error:
        raise ImageReadError(f'cannot read {without_password(url)}: {error}') from error
