"""Files of captions: which text belongs to which photo.

JSON as a list of [photo, caption] or as {photo: caption or list of captions}, or a table (`.csv`, `.tsv`) of two
columns, with or without a line of titles. Always UTF-8.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .entries import PhotoEntries

_TABLES = {'.csv': ',', '.tsv': '\t'}
_TITLES = ('caption', 'captions', 'text')
_SHOWN = 60

Pairs = tuple[tuple[str, str], ...]


class CaptionFile(PhotoEntries[str]):
    """The captions of photos.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or a caption has no words.

    Attributes:
        listed: {photo: its captions} as the file has them, with those that are there twice.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f'there is no file of captions {path}')
        try:
            text = path.read_bytes().decode('utf-8-sig')
        except UnicodeDecodeError as error:
            raise ValueError(f'{path} is not UTF-8: {error}') from error
        table = _TABLES.get(path.suffix.lower())
        captions: dict[str, list[str]] = {}
        self.listed: dict[str, list[str]] = {}
        for photo, caption in _rows(text, table, path) if table else _entries(text, path):
            if not any(map(str.isalnum, caption)):
                raise ValueError(f'{path}, photo {photo}: a caption must have words, but got {caption!r}')
            self.listed.setdefault(photo, []).append(caption)
            own = captions.setdefault(photo, [])
            if caption not in own:
                own.append(caption)
        super().__init__(path, 'captions', {photo: tuple(own) for photo, own in captions.items()})

    def check(self, photos: Sequence[str]) -> None:
        """Looks all photos of a run up, see `PhotoEntries.check`.

        Raises:
            ValueError: none of them has a caption, or one has several.
        """
        super().check(photos)
        for photo in photos:
            if len(own := self.of(photo)) > 1:
                raise ValueError(
                    f'{self.path} has {len(own)} captions for {photo}, {_short(own[0])} and {_short(own[1])}, '
                    'but a picture has the colours of one'
                )


class PairFile:
    """Which words of captions are a noun and its colour, as L-CoDe's `obj2col.json` has it.

    JSON, {photo: for each of its captions a list of [noun, colour]}, by the numbers of the words from 1.

    Args:
        path: the file.
        captions: the captions, as many for each photo and in the same order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or does not fit the captions.
    """

    def __init__(self, path: str | os.PathLike[str], captions: CaptionFile) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f'there is no file of nouns and their colours {path}')
        try:
            content = json.loads(path.read_bytes())
        except (RecursionError, ValueError) as error:
            raise ValueError(f'{path} is not JSON: {error}') from error
        if not isinstance(content, dict):
            raise ValueError(f'{path} must have {{photo: [[[noun, colour], ...], ...]}}, but has {_short(content)}')
        pairs: dict[str, dict[str, Pairs]] = {}
        for photo, lists in content.items():
            own = captions.listed.get(photo, [])
            if not isinstance(lists, list) or len(lists) != len(own):
                raise ValueError(f'{path}, photo {photo}: {_short(lists)} are no lists for {len(own)} captions')
            pairs[photo] = {
                text: _said(text, each, f'{path}, photo {photo}') for text, each in zip(own, lists, strict=True)
            }
        self._entries = PhotoEntries(path, 'pairs', {photo: (own,) for photo, own in pairs.items()})

    def of(self, photo: str, caption: str) -> Pairs:
        """(noun, colour) in words, for each pair of a caption of a photo."""
        return next(iter(self._entries.of(photo)), {}).get(caption, ())


def _said(caption: str, pairs: Any, where: str) -> Pairs:
    words = caption.lower().split()
    said = []
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        numbers: list[Any] = pair if isinstance(pair, list) and len(pair) == 2 else [None]
        if not all(isinstance(number, int) and 1 <= number <= len(words) for number in numbers):
            raise ValueError(f'{where}: {_short(pair)} are no two of the {len(words)} words of {_short(caption)}')
        noun, color = (words[number - 1].strip('.,;:!?') for number in numbers)
        said.append((noun, color))
    return tuple(said)


def _rows(text: str, delimiter: str, path: Path) -> Iterator[tuple[str, str]]:
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if not row or (reader.line_num == 1 and row[-1].strip().lower() in _TITLES):
                continue
            if len(row) != 2:
                raise ValueError(
                    f'{path}, line {reader.line_num}: it must have a photo and a caption, but has {len(row)} columns'
                )
            yield row[0].strip(), row[1].strip()
    except csv.Error as error:
        raise ValueError(f'{path}, line {reader.line_num}: {error}') from error


def _entries(text: str, path: Path) -> Iterator[tuple[str, str]]:
    try:
        content = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(content, dict | list):
        raise ValueError(f'{path} must have {{photo: caption}} or a list of [photo, caption], but has {content!r}')
    for entry in content.items() if isinstance(content, dict) else content:
        photo, captions = entry if isinstance(entry, list | tuple) and len(entry) == 2 else (None, entry)
        texts = captions if isinstance(captions, list) else [captions]
        if not isinstance(photo, str) or not all(isinstance(caption, str) for caption in texts):
            raise ValueError(f'{path}: {_short(entry)} is not a photo and its caption')
        yield from ((photo, caption) for caption in texts)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
