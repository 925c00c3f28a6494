"""Manifests of archives: which photos are meant, and what is wished of each."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from insta_colorization.fileio.stores import open_text

# The column of a CSV and the key of a line of JSON that has the photo.
COLUMN = 'path'
MANIFESTS = ('.txt', '.jsonl', '.csv')
BOXES_SUFFIX = '.npz'
_LONGEST_SHOWN = 80


class Row(NamedTuple):
    """An entry of a manifest: its line from 1, the path or address of its photo, and all its columns or keys."""

    line: int
    path: str
    said: Mapping[str, Any]


@dataclass(frozen=True)
class PhotoRequest:
    """What a manifest says about a photo, besides where it is.

    Attributes:
        caption: which colours things have.
        hints: a list of hints, as `fileio.hints.Wish` parses them, or the address of a file of one.
        boxes: the address of an `.npz` of the photo's boxes.
        page: which one of its file's pages is meant, from 1.
    """

    caption: str | None = None
    hints: list[Any] | str | None = None
    boxes: str | None = None
    page: int | None = None

    @classmethod
    def parse(cls, said: Mapping[str, Any], join: Callable[[str], str]) -> 'PhotoRequest':
        """Makes one of what a row has; other columns are not looked at, and empty ones say nothing.

        Args:
            said: texts, as a CSV has them, or what JSON has.
            join: makes an address of a path that may be relative.

        Raises:
            ValueError: something in it cannot be used.
        """
        given = {name: said.get(name) for name in cls.__annotations__}
        texts = {name: _text(name, given[name]) for name in ('caption', 'boxes')}
        if texts['caption']:
            # torch is imported where somebody has wishes.
            from insta_colorization.structures import Request

            Request(caption=texts['caption'])
        boxes = texts['boxes']
        if boxes and not boxes.lower().endswith(BOXES_SUFFIX):
            raise ValueError(f'`boxes` must be a file of {BOXES_SUFFIX}, but got {_short(boxes)}')
        hints = _hints(given['hints'])
        return cls(
            texts['caption'] or None,
            join(hints) if isinstance(hints, str) else hints,
            join(boxes) if boxes else None,
            _page(given['page']),
        )


def _text(name: str, value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise ValueError(f'`{name}` must be a text, but got {_short(value)}')
    return value


def _hints(value: Any) -> list[Any] | str | None:
    """A list that can be used, or the path of a file that nobody has opened."""
    if isinstance(value, str) and value.lstrip().startswith('['):
        try:
            value = json.loads(value)
        except (RecursionError, ValueError) as error:
            raise ValueError(f'`hints` are not JSON: {error}') from error
    if not isinstance(value, str | list | None):
        raise ValueError(f'`hints` must be a list of hints or the path of a file, but got {_short(value)}')
    if value and isinstance(value, list):
        from insta_colorization.fileio.hints import parse_wishes

        parse_wishes(value, '`hints`')
    return value or None


def _page(value: Any) -> int | None:
    if value is None or value == '':
        return None
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f'`page` must be a whole number from 1, but got {_short(value)}')
    return number


def _short(value: Any) -> str:
    return repr(value)[:_LONGEST_SHOWN]


def read_manifest(address: str) -> Iterator[Row]:
    """The photos that a manifest names, line after line, so that it may be longer than memory.

    Args:
        address: path or address of a text file with a path a line, a `.jsonl` with texts or objects that have a `path`,
            or a `.csv` with a column of this name.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file, or a line of it is none.
    """
    suffix = Path(address).suffix.lower()
    if suffix not in MANIFESTS:
        raise ValueError(f'a manifest must be a file of {", ".join(MANIFESTS)}, but got {address}')
    with open_text(address) as file:
        try:
            if suffix == '.txt':
                texts = (text.rstrip('\r\n') for text in file)
                yield from (Row(number, text, {}) for number, text in enumerate(texts, start=1) if text)
            else:
                yield from _json_lines(file, address) if suffix == '.jsonl' else _csv_rows(file, address)
        except csv.Error as error:
            raise ValueError(f'{address} is no CSV: {error}') from error


def _json_lines(file: TextIO, address: str) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (RecursionError, ValueError) as error:
            raise ValueError(f'line {number} of {address} is not JSON: {error}') from error
        said = found if isinstance(found, dict) else {COLUMN: found}
        path = said.get(COLUMN)
        if not isinstance(path, str) or not path:
            shown = line.strip()[:_LONGEST_SHOWN]
            raise ValueError(f'line {number} of {address} has no {COLUMN!r} that is a text: {shown}')
        yield Row(number, path, said)


def _csv_rows(file: TextIO, address: str) -> Iterator[Row]:
    rows = csv.DictReader(file)
    if COLUMN not in (rows.fieldnames or ()):
        raise ValueError(f'{address} must have a column {COLUMN!r}, but has {", ".join(rows.fieldnames or ["none"])}')
    for row in rows:
        if not row[COLUMN]:
            raise ValueError(f'line {rows.line_num} of {address} has no {COLUMN!r}')
        yield Row(rows.line_num, row[COLUMN], row)
