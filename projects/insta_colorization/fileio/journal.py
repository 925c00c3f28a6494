"""What a long run has finished so far, on disk, so that a run that was killed goes on when it is repeated."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from .files import make_folder


class Journal:
    """Records of a run, one line of JSON each, written as soon as they are there.

    Every process appends to a file of its own in one folder, which on several machines is a shared one; the first line
    of each file holds the settings of the run. A last line that a kill cut off is ignored and written over. How many
    processes wrote the records before does not matter.

    Args:
        folder: made when the first record is appended.
        settings: what records depend on; values that JSON can hold.
        rank: number of this process, 0..world_size-1.
        world_size: how many processes there are.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], rank: int = 0, world_size: int = 1) -> None:
        self.folder = folder
        self.own = folder / f'rank{rank}of{world_size}.jsonl'
        self._settings = json.loads(json.dumps(settings))
        self._rank = rank
        self._file: Any = None
        self._open_files: list[BinaryIO] = []

    def __iter__(self) -> Iterator[Any]:
        """The records of all processes and of earlier runs, file by file.

        Raises:
            ValueError: a file was made with other settings, or is damaged.
        """
        for path in sorted(self.folder.glob('rank*of*.jsonl')):
            lines = _lines(path)
            if lines:
                self._require_own_settings(path, lines[0])
                yield from lines[1:]

    def __enter__(self) -> Self:
        """Takes the journal for this run, before anything in it is read: another run may be about to remove it.

        The first process locks the journal, each one its own file.

        Raises:
            OSError: it cannot be written.
            ValueError: another process is writing it.
        """
        if not self._rank:
            self._open_files.append(self._locked(self.folder / 'lock'))
        self._file = self._locked(self.own)
        self._open_files.append(self._file)
        self._file.seek(0)
        self._file.truncate(self._file.read().rfind(b'\n') + 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open_files:
            self._open_files.pop().close()

    def _locked(self, path: Path) -> BinaryIO:
        """Opens a file to append to, that no other process has and that is still there."""
        while True:
            make_folder(self.folder)
            file = path.open('a+b')
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.close()
                raise ValueError(f'{path} is being written by another process that is still running') from error
            if path.exists() and path.samefile(f'/proc/self/fd/{file.fileno()}'):
                return file
            file.close()

    def append(self, record: Any) -> None:
        """Writes one record, so that neither a kill of this process nor a power cut can lose it any more.

        Raises:
            OSError: the disk is full.
        """
        # The settings come with the first record: a run that finds those of another one must leave nothing behind.
        lines = [record] if self._file.tell() else [self._settings, record]
        try:
            self._file.write(b''.join(json.dumps(line).encode() + b'\n' for line in lines))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OSError(f'cannot write {self.own}: {error.strerror}') from error

    def remove(self) -> None:
        """Deletes the records of all processes."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _require_own_settings(self, path: Path, header: Any) -> None:
        found = header if isinstance(header, dict) else {}
        differences = [
            f'{name} {found.get(name)!r} instead of {value!r}'
            for name, value in self._settings.items()
            if found.get(name) != value
        ]
        if differences:
            raise ValueError(
                f'{path} was made with {", ".join(differences)}; repeat the command that made it, or delete '
                f'{self.folder} to begin again'
            )


def _lines(path: Path) -> list[Any]:
    """The whole lines of a file, parsed."""
    parsed = []
    for number, line in enumerate(path.read_bytes().split(b'\n')[:-1], start=1):
        try:
            parsed.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f'{path} is damaged at line {number}; delete it and repeat the command') from error
    return parsed
