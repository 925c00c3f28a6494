"""The photos of the studio: files in one temporary folder, named by random ids."""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, BinaryIO

from insta_colorization.fileio.files import disk_is_full
from insta_colorization.utils.errors import printable

_LONGEST_NAME = 100
_MOST_CLIENTS = 32


@dataclass
class Client:
    """A page, or a program, that works on a photo.

    Attributes:
        sequence: the number of its newest request; 0 if it has sent none.
        edit: the last edit that coloured the photo.
    """

    sequence: int = 0
    edit: dict[str, Any] = field(default_factory=dict)


@dataclass
class Kept:
    """A photo in the store.

    Attributes:
        path: its file.
        name: the user's name for it, which is never opened.
        bytes: the size of the file.
        used: when it was last used, in seconds of the store's clock.
        about: what `Engine.open` returned.
        clients: {name: client}, the most recent ones, oldest first.
    """

    path: Path
    name: str
    bytes: int
    used: float
    about: dict[str, Any] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)

    def client(self, name: str) -> Client:
        """The client of a name, which becomes the most recent one; the oldest ones over the limit are dropped."""
        self.clients[name] = self.clients.pop(name, Client())
        while len(self.clients) > _MOST_CLIENTS:
            del self.clients[next(iter(self.clients))]
        return self.clients[name]

    def edit_of(self, name: str) -> Mapping[str, Any]:
        """The last edit of a client; none of one that is unknown, which stays so."""
        return self.clients[name].edit if name in self.clients else {}


class FullError(Exception):
    """There is no room for another photo."""


class Store:
    """Photos in a folder, limited in total size and age.

    Args:
        folder: a folder for the photos alone.
        max_bytes: the limit for all photos together.
        max_age: seconds without use after which a photo is deleted.
        clock: returns seconds.
    """

    def __init__(
        self, folder: Path, max_bytes: int, max_age: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.max_age = max_age
        self._clock = clock
        self._lock = Lock()
        self._bytes = 0
        self._photos: dict[str, Kept] = {}

    def __len__(self) -> int:
        return len(self._photos)

    def receive(self, source: BinaryIO, name: str) -> Kept:
        """Copies a file into the folder, in any thread; `add` keeps it, `drop` deletes it.

        Args:
            source: the open file.
            name: the user's name for it.

        Raises:
            FullError: there is no room, on the disk or within the limit.
        """
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        with self._lock:
            if self._bytes + size > self.max_bytes:
                raise FullError
            self._bytes += size
        photo = Kept(self.folder / secrets.token_urlsafe(16), tidy_name(name), size, self._clock())
        try:
            with photo.path.open('xb') as target:
                shutil.copyfileobj(source, target)
        except BaseException as error:
            self.drop(photo)
            if disk_is_full(error):
                raise FullError from error
            raise
        return photo

    def drop(self, photo: Kept) -> None:
        """Deletes the file of a photo."""
        photo.path.unlink(missing_ok=True)
        with self._lock:
            self._bytes -= photo.bytes

    def add(self, photo: Kept) -> str:
        """Keeps a photo that was received; returns its id."""
        self._photos[photo.path.name] = photo
        return photo.path.name

    def get(self, number: str) -> Kept:
        """The photo with an id; this counts as use.

        Raises:
            KeyError: there is none.
        """
        self.tidy()
        photo = self._photos[number]
        photo.used = self._clock()
        return photo

    def remove(self, number: str) -> None:
        """Deletes a photo; raises `KeyError` if there is none."""
        self.drop(self._photos.pop(number))

    def tidy(self) -> None:
        """Deletes photos that have not been used for `max_age`."""
        oldest = self._clock() - self.max_age
        for number in [number for number, photo in self._photos.items() if photo.used < oldest]:
            self.remove(number)


def tidy_name(name: str) -> str:
    """A photo's name for display: the last part of the path that a browser sent, with control characters escaped."""
    last = PurePosixPath(name.replace('\\', '/')).name
    return printable(last)[-_LONGEST_NAME:] or 'photo'
