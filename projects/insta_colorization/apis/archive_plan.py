"""Which photos of an archive are coloured and what their results are called: a table on disk, for millions of them."""

import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

from insta_colorization.fileio.stores import Folder, scheme_of
from insta_colorization.imaging.photo import is_photo_name
from insta_colorization.utils.errors import sentence

from .archive_manifest import PhotoRequest, read_manifest
from .jobs import name_apart, name_of_page, name_of_url, result_name, without_password


class Planned(NamedTuple):
    """A photo of a run.

    Attributes:
        number: its number from 1.
        source: its path or address.
        name: of its result below the target.
        own: the photo's own name below the source.
        said: what the manifest says about it.
    """

    number: int
    source: str
    name: str
    own: str = ''
    said: PhotoRequest = PhotoRequest()


class Refused(NamedTuple):
    """A photo that has no result: what it is called, the kind of failure, and a sentence."""

    photo: str
    kind: str
    reason: str


class _Entry(NamedTuple):
    """A photo before its result has a name; the key orders them."""

    key: bytes | int
    source: str
    name: str
    said: PhotoRequest = PhotoRequest()


class Plan:
    """The photos of a run in a SQLite file, in order, each with a result's name of its own.

    The names and, without a manifest, the order are those that `jobs.plan` gives a folder.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = sqlite3.connect(path, check_same_thread=False)

    @classmethod
    def make(cls, path: Path, source: Folder, target: Folder, suffix: str, manifest: str | None = None) -> Self:
        """Lists the photos and names their results.

        Args:
            path: file to make.
            source: the folder whose photos are meant, or that relative entries of the manifest are relative to.
            target: the folder of the results; what lies in it is no photo.
            suffix: of the results, see `result_name`.
            manifest: see `read_manifest`; None for all photos below the source.

        Raises:
            OSError: the source cannot be listed or the manifest not be read.
            ValueError: there is no photo, or the manifest is none.
        """
        plan = cls(path)
        database = plan._database
        # The file is made anew by every run.
        database.executescript("""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            CREATE TABLE found (key, source BLOB, page, name BLOB, result BLOB, said TEXT);
            CREATE TABLE refused (photo TEXT, kind TEXT, reason TEXT);
            CREATE TABLE photos (
                number INTEGER PRIMARY KEY, source BLOB, name BLOB, result BLOB, said TEXT, shared INTEGER
            );
        """)
        entries = _listed(source, target) if manifest is None else plan._named(source, target, manifest)
        rows = (
            (
                *(key, os.fsencode(source), said.page or 0, os.fsencode(name)),
                *(os.fsencode(result_name(Path(name), suffix)), _as_text(said)),
            )
            for key, source, name, said in entries
        )
        database.executemany('INSERT INTO found VALUES (?, ?, ?, ?, ?, ?)', rows)
        plan._number()
        plan._name_apart(suffix)
        database.commit()
        if not len(plan) + plan.num_refused:
            raise ValueError(f'{source.address if manifest is None else manifest} names no photo')
        return plan

    def _named(self, source: Folder, target: Folder, manifest: str) -> Iterator[_Entry]:
        """The entries of a manifest; those that are no photo of the source, or wish what cannot be, are refused."""
        for number, row in enumerate(read_manifest(manifest), start=1):
            address = source.join(row.path)
            if _lies_in(target, address):
                self._refuse(address, 'inside-target', f'{without_password(address)} lies among the results')
                continue
            try:
                said = PhotoRequest.parse(row.said, source.join)
            except ValueError as error:
                self._refuse(address, 'request', f'line {row.line} of {manifest}: {sentence(error)}')
                continue
            name = source.name_of(address) or name_of_url(address)
            yield _Entry(number, address, str(name_of_page(Path(name), said.page)) if said.page else name, said)

    def _refuse(self, photo: str, kind: str, reason: str) -> None:
        told = (text.encode('utf-8', 'backslashreplace').decode() for text in (without_password(photo), kind, reason))
        self._database.execute('INSERT INTO refused VALUES (?, ?, ?)', tuple(told))

    def _number(self) -> None:
        """Puts the photos in order; one that is named again is refused."""
        self._database.executescript("""
            CREATE INDEX by_source ON found (source, page, key);
            INSERT INTO photos (source, name, result, said, shared)
                SELECT source, name, result, said, 0 FROM found AS one WHERE NOT EXISTS (
                    SELECT 1 FROM found WHERE source = one.source AND page = one.page AND key < one.key
                ) ORDER BY key;
            CREATE INDEX by_result ON photos (result);
        """)
        again = self._database.execute(
            'SELECT source FROM found AS one WHERE EXISTS '
            '(SELECT 1 FROM found WHERE source = one.source AND page = one.page AND key < one.key) ORDER BY key'
        )
        for (source,) in again:
            name = os.fsdecode(source)
            self._refuse(name, 'duplicate', f'{without_password(name)} was named before')
        self._database.execute('DROP TABLE found')

    def _name_apart(self, suffix: str) -> None:
        """Gives photos whose results would share a name names of their own."""
        database = self._database
        database.execute(
            'UPDATE photos SET shared = 1 '
            'WHERE result IN (SELECT result FROM photos GROUP BY result HAVING COUNT(*) > 1)'
        )
        taken = _Taken(database)
        for number, name in database.execute('SELECT number, name FROM photos WHERE shared ORDER BY number'):
            apart = os.fsencode(name_apart(Path(os.fsdecode(name)), suffix, taken))
            database.execute('UPDATE photos SET result = ?, shared = 2 WHERE number = ?', (apart, number))

    def __len__(self) -> int:
        return self._database.execute('SELECT COUNT(*) FROM photos').fetchone()[0]

    @property
    def num_refused(self) -> int:
        """How many entries have no result in any case."""
        return self._database.execute('SELECT COUNT(*) FROM refused').fetchone()[0]

    def refused(self) -> Iterator[Refused]:
        """The entries that have no result in any case."""
        return (Refused(*row) for row in self._database.execute('SELECT * FROM refused'))

    def chunk(self, index: int, size: int) -> list[Planned]:
        """The photos of the chunk of a number, from 0, of chunks of `size`."""
        rows = self._database.execute(
            'SELECT number, source, result, name, said FROM photos WHERE number > ? AND number <= ?',
            (index * size, (index + 1) * size),
        )
        return [
            Planned(number, os.fsdecode(source), os.fsdecode(result), os.fsdecode(name), _from_text(said))
            for number, source, result, name, said in rows
        ]

    def close(self) -> None:
        """Closes the file."""
        self._database.close()


class Clerk:
    """Knows which photos there are, and which chunks a worker has begun and not ended.

    Args:
        path: file of the plan.
        size: photos of a chunk.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._plan, self._size = Plan(path), size
        self._begun: set[int] = set()
        self._tries: Counter[int] = Counter()

    def begin(self, index: int) -> tuple[list[Planned], bool]:
        """The photos of a chunk, and whether a worker has begun them before and died."""
        again = index in self._begun
        self._begun.add(index)
        return self._plan.chunk(index, self._size), again

    def deaths(self, number: int) -> int:
        """How many workers died of a photo that one is now to colour alone."""
        self._tries[number] += 1
        return self._tries[number] - 1

    def survived(self, number: int) -> None:
        """Says that no worker died of a photo."""
        del self._tries[number]

    def end(self, index: int) -> None:
        """Says that all photos of a chunk have a result or a reason."""
        self._begun.discard(index)


def _as_text(said: PhotoRequest) -> str:
    return '' if said == PhotoRequest() else json.dumps(vars(said))


def _from_text(text: str) -> PhotoRequest:
    return PhotoRequest(**json.loads(text)) if text else PhotoRequest()


class _Taken:
    """The names that results have already: all those that are not shared, and those that were given since."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __contains__(self, name: object) -> bool:
        query = 'SELECT 1 FROM photos WHERE result = ? AND shared != 1 LIMIT 1'
        return self._database.execute(query, (os.fsencode(str(name)),)).fetchone() is not None


def _listed(source: Folder, target: Folder) -> Iterator[_Entry]:
    """The photos below a folder but not in the target, each with what sorts `frame10` behind `frame9`."""
    for name in source.names():
        if is_photo_name(Path(name)):
            address = source.file(name).address
            if not _lies_in(target, address):
                yield _Entry(natural_text(address), address, name)


def natural_text(text: str) -> bytes:
    """A text whose bytes sort as `jobs.natural_key` does: a number by its value, before all that is no digit."""

    def sortable(digits: re.Match[str]) -> str:
        number = str(int(digits[0]))
        return f'\x01{len(number):04d}{number}'

    return os.fsencode(re.sub(r'\d+', sortable, text.lower()) + '\0' + text)


def _lies_in(folder: Folder, address: str) -> bool:
    """Whether a photo lies in a folder, also through links."""
    if scheme_of(address) or folder.path is None:
        return folder.name_of(address) is not None
    place = _real(os.path.dirname(address))
    inside = _real(folder.address)
    return place == inside or place.startswith(inside.rstrip('/') + '/')


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
