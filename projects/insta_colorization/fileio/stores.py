"""Folders of files here, on object stores and on servers, by fsspec; files are read and written whole."""

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO

from .download import download
from .files import files_below, flush_folder, make_folder, open_regular, write_whole

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

INSTALL = 'pip install "insta_colorization[cluster]"'
HTTP = ('http', 'https')
# What stores call the things that change with a file.
_MARKS = ('size', 'mtime', 'created', 'ETag', 'etag', 'LastModified', 'updated', 'generation')
_TIMEOUT_SECONDS = 60
_MAX_SECONDS = 300
MAX_BYTES = 2**31


class ChangedError(OSError):
    """A file was another one after it was read than before."""


def scheme_of(address: str) -> str:
    """The protocol of an address, `s3` of `s3://bucket/a.jpg`; '' of a path on this machine."""
    head, separator, _ = address.partition('://')
    return head.lower() if separator and head.lower() != 'file' else ''


def without_scheme(address: str) -> str:
    """A path on this machine, also where it was written as `file://`."""
    return address.partition('://')[2] if address.lower().startswith('file://') else address


@cache
def _filesystem(scheme: str) -> 'AbstractFileSystem':
    """What reaches the files of a protocol; its own settings come from the environment (`AWS_*`, `FSSPEC_*`).

    Raises:
        ImportError: a library that it needs is not installed.
        ValueError: nobody knows the protocol.
    """
    try:
        import fsspec

        if scheme not in fsspec.available_protocols():
            raise ValueError(f'{scheme}:// is no address that is read or written')
        # A listing that is kept would tell the state that a file had before.
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise ImportError(f'{scheme}:// needs a library that is not installed ({error}): {INSTALL}') from error


@contextmanager
def _told(address: str, doing: str) -> Iterator[None]:
    """Within it what a store raises becomes an error of the same kind that names the file.

    Raises:
        OSError: whatever was raised; libraries of object stores have types of their own.
    """
    try:
        yield
    except FileNotFoundError as error:
        what = 'place' if doing == 'write' else 'file'  # a store has no folders, but buckets
        raise FileNotFoundError(f'cannot {doing} {address}: there is no such {what}') from error
    except PermissionError as error:
        raise PermissionError(f'cannot {doing} {address}: permission denied') from error
    except IsADirectoryError as error:
        raise IsADirectoryError(f'cannot {doing} {address}: it is a folder') from error
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        reason = getattr(error, 'strerror', None) or (error if isinstance(error, OSError | ValueError) else repr(error))
        raise OSError(f'cannot {doing} {address}: {reason}') from error


@contextmanager
def open_text(address: str) -> Iterator[TextIO]:
    """Opens a text here or in a store, to read it line by line; bytes that are no UTF-8 stand for those of names.

    Raises:
        OSError: it cannot be read.
    """
    settings: dict[str, Any] = {'encoding': 'utf-8-sig', 'errors': 'surrogateescape', 'newline': ''}
    with _told(address, 'read'):
        scheme, path = scheme_of(address), Path(without_scheme(address))
        opened = _filesystem(scheme).open(address, 'rt', **settings) if scheme else path.open(**settings)
    with opened as file:
        yield file


@dataclass(frozen=True)
class StoredFile:
    """One file, here or in a store.

    Attributes:
        address: its path or address.
        page: which one of its pages is meant, from 0; None for what it shows first.
        seen: its state when it was read; filled by `read`.
    """

    address: str
    page: int | None = None
    seen: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def path(self) -> Path | None:
        """Its path where it is a file of this machine."""
        return None if scheme_of(self.address) else Path(without_scheme(self.address))

    def state(self) -> Mapping[str, Any]:
        """Its size and what else changes with it: the time of change here, an ETag in a store; {} on a web server.

        Raises:
            OSError: there is no such file, or it is a folder.
        """
        scheme = scheme_of(self.address)
        with _told(self.address, 'read'):
            if self.path is not None:
                found = self.path.stat()
                if stat.S_ISDIR(found.st_mode):
                    raise IsADirectoryError
                return {'size': found.st_size, 'mtime_ns': found.st_mtime_ns, 'inode': found.st_ino}
            if scheme in HTTP:  # each answer is of one version
                return {}
            info = _filesystem(scheme).info(self.address)
            if info.get('type') == 'directory':
                raise IsADirectoryError
            return {mark: str(info[mark]) if mark != 'size' else info[mark] for mark in _MARKS if mark in info}

    def read(self, max_bytes: int = MAX_BYTES) -> bytes:
        """Its content, of one state.

        Raises:
            ChangedError: it changed while it was read.
            OSError: it cannot be read, is longer than `max_bytes`, or does not end.
        """
        before = self.state()
        if before.get('size', 0) > max_bytes:
            raise OSError(f'cannot read {self.address}: it has {before["size"]} bytes, and {max_bytes} are allowed')
        with _told(self.address, 'read'):
            if self.path is not None:
                with open_regular(self.path) as file:
                    data = file.read()
            elif scheme_of(self.address) in HTTP:
                data = b''.join(download(self.address, _TIMEOUT_SECONDS, max_bytes, _MAX_SECONDS))
            else:
                data = _filesystem(scheme_of(self.address)).cat_file(self.address)
        self.seen.update(before)
        self.require_same()
        return data

    def require_same(self) -> None:
        """Raises `ChangedError` if it is no longer what `read` has read."""
        now = self.state()
        if now != self.seen:
            before = {key: value for key, value in self.seen.items() if now.get(key) != value}
            after = {key: now.get(key) for key in before}
            raise ChangedError(f'{self.address} changed while it was coloured, from {before} to {after}')

    def ends(self, count: int = 12) -> tuple[int, bytes, bytes]:
        """Its size, its first and its last `count` bytes; (0, b'', b'') where there is no such file."""
        try:
            size = self.state()['size']
            if not size:
                return 0, b'', b''
            with _told(self.address, 'read'):
                if self.path is not None:
                    with self.path.open('rb') as file:
                        head = file.read(count)
                        file.seek(max(0, size - count))
                        return size, head, file.read()
                store = _filesystem(scheme_of(self.address))
                tail = store.cat_file(self.address, start=max(0, size - count), end=size)
                return size, store.cat_file(self.address, start=0, end=min(count, size)), tail
        except FileNotFoundError:
            return 0, b'', b''


@dataclass(frozen=True)
class Folder:
    """A folder, here or in a store.

    Attributes:
        address: its path or address, without a slash at its end.
    """

    address: str

    @classmethod
    def at(cls, address: str | os.PathLike[str]) -> 'Folder':
        """The folder of a path or an address.

        Raises:
            ImportError: a library that its store needs is not installed.
            ValueError: nobody knows the protocol.
        """
        text = os.fspath(address)
        scheme = scheme_of(text)
        if not scheme:
            return cls(os.path.abspath(os.path.expanduser(without_scheme(text))))
        if scheme not in HTTP:
            _filesystem(scheme)
        return cls(text.rstrip('/'))

    @property
    def path(self) -> Path | None:
        """Its path where it is on this machine."""
        return None if scheme_of(self.address) else Path(self.address)

    def file(self, name: str) -> StoredFile:
        """The file of a name below it."""
        return StoredFile(f'{self.address.rstrip("/")}/{name}')

    def name_of(self, address: str) -> str | None:
        """The name below it of a path or an address; None of one that is not below it."""
        scheme = scheme_of(address)
        if scheme != scheme_of(self.address):
            return None
        if not scheme:
            address = os.path.normpath(without_scheme(address))
        elif '..' in PurePath(address).parts:
            return None
        head = f'{self.address.rstrip("/")}/'
        return address.removeprefix(head).lstrip('/') if address.startswith(head) and address != head else None

    def contains(self, other: 'Folder') -> bool:
        """Whether the other folder is this one or below it, also through links."""
        if self.path is None or other.path is None:
            return other.address == self.address or self.name_of(other.address) is not None
        inner, outer = Path(os.path.realpath(other.path)), Path(os.path.realpath(self.path))
        return inner == outer or outer in inner.parents

    def join(self, entry: str) -> str:
        """The path or address of an entry of a list that may be relative to the folder."""
        if scheme_of(entry) or os.path.isabs(without_scheme(entry)):
            return entry if scheme_of(entry) else os.path.normpath(without_scheme(entry))
        if self.path is not None:
            return os.path.normpath(self.path / entry)
        head, _, rest = self.address.partition('://')
        return f'{head}://{posixpath.normpath(posixpath.join(rest, entry))}'

    def names(self) -> Iterator[str]:
        """The names of the files below it, in no order; the next ones are looked for when they are needed.

        Raises:
            OSError: it cannot be listed.
            ValueError: it is on a web server, which lists nothing.
        """
        scheme = scheme_of(self.address)
        if scheme in HTTP:
            raise ValueError(f'{self.address} cannot be listed, as no web server can: --manifest names its photos')
        with _told(self.address, 'list'):
            if self.path is not None:
                if not self.path.is_dir():
                    raise NotADirectoryError(20, 'it is no folder' if self.path.exists() else 'there is no such folder')
                yield from (os.path.relpath(path, self.path) for path in files_below(self.path))
                return
            store = _filesystem(scheme)
            root = store._strip_protocol(self.address).rstrip('/')
            for place, _, files in store.walk(self.address, on_error='raise'):
                below = str(place)[len(root) :].strip('/')
                yield from (posixpath.join(below, name) for name in files if name)

    def put(self, name: str, file: Path) -> None:
        """Moves a file that was written whole to its name below the folder, where it appears whole or not at all.

        Here it is renamed, so it must lie on the same file system; to a store it goes with one request.

        Raises:
            OSError: it cannot be written.
        """
        target = self.file(name)
        with _told(target.address, 'write'):
            if target.path is not None:
                make_folder(target.path.parent)
                file.replace(target.path)
                flush_folder(target.path.parent)
            else:
                _filesystem(scheme_of(self.address)).pipe_file(target.address, file.read_bytes())
                file.unlink()

    def write(self, name: str, data: bytes) -> None:
        """Writes a file below the folder, whole or not at all.

        Raises:
            OSError: it cannot be written.
            ValueError: it is on a web server.
        """
        scheme, target = scheme_of(self.address), self.file(name)
        if scheme in HTTP:
            raise ValueError(f'results cannot be written to {self.address}, a web server')
        with _told(target.address, 'write'):
            if target.path is not None:
                make_folder(target.path.parent)
                write_whole(data, target.path)
            else:
                _filesystem(scheme).pipe_file(target.address, data)
