"""Files that say something about photos by their names."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Generic, Protocol, TypeVar

from .boxes import tails

logger = logging.getLogger(__name__)

T = TypeVar('T')
T_co = TypeVar('T_co', covariant=True)


class Entries(Protocol[T_co]):
    """What is said about the photos of a run."""

    def check(self, photos: Sequence[str]) -> None:
        """Looks all photos of a run up before it begins; raises `ValueError` if entries and photos do not match."""

    def of(self, photo: str) -> tuple[T_co, ...]:
        """The entries of a photo, by its name; () if there are none."""


class PhotoEntries(Generic[T]):
    """What a file has for each photo, which is found by its path as far as the file has it.

    Args:
        path: the file.
        what: what the entries are called.
        entries: by the photos' names, none of them empty but those without any.
    """

    def __init__(self, path: str | os.PathLike[str], what: str, entries: Mapping[str, tuple[T, ...]]) -> None:
        self.path, self.what, self.entries = Path(path), what, entries

    def check(self, photos: Sequence[str]) -> None:
        """Looks all photos of a run up before it begins, and warns if some have no entry.

        Raises:
            ValueError: none of the photos has any.
        """
        matched = sum(bool(self.of(photo)) for photo in photos)
        if photos and not matched:
            names = ', '.join(str(name) for name in list(self.entries)[:3]) or 'none'
            raise ValueError(
                f'{self.path} has {self.what} for {len(self.entries)} photos ({names}), '
                f'but not for any of the {len(photos)} of this run, such as {photos[0]}'
            )
        if matched < len(photos):
            logger.warning('%s has %s for %d of the %d photos', self.path, self.what, matched, len(photos))

    def of(self, photo: str) -> tuple[T, ...]:
        """The entries of a photo; () if there are none."""
        path = PurePath(os.path.abspath(photo))
        return next((found for tail in tails(path) if (found := self.entries.get(tail.as_posix()))), ())


def read_json(path: Path, what: str) -> Any:
    """What a JSON file holds; `what` says in errors what file it is: 'file of hints'.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or nested too deeply to be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f'there is no {what} {path}')
    try:
        return json.loads(path.read_bytes())
    except (RecursionError, ValueError) as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
