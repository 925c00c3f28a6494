"""Files of captions: which text belongs to which photo.

JSON as a list of [photo, caption] or as {photo: caption or list of captions}, or a table (`.csv`, `.tsv`) of two
columns, with or without a line of titles. Always UTF-8.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .entries import PhotoEntries

_TABLES = {'.csv': ',', '.tsv': '\t'}
_TITLES = ('caption', 'captions', 'text')
_SHOWN = 60


class CaptionFile(PhotoEntries[str]):
    """The captions of photos.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or a caption has no words.
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
        for photo, caption in _rows(text, table, path) if table else _entries(text, path):
            if not any(map(str.isalnum, caption)):
                raise ValueError(f'{path}, photo {photo}: a caption must have words, but got {caption!r}')
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


def _rows(text: str, delimiter: str, path: Path) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(csv.reader(text.splitlines(), delimiter=delimiter, strict=True), 1):
        if not row or (number == 1 and row[-1].strip().lower() in _TITLES):
            continue
        if len(row) != 2:
            raise ValueError(f'{path}, line {number}: it must have a photo and a caption, but has {len(row)} columns')
        yield row[0].strip(), row[1].strip()


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
