"""Files that appear whole or not at all and stay when the power fails, and files that end."""

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = re.compile(r'\.[0-9a-f]{32}\.tmp')
# A writer takes its lock as soon as it has made its file.
_SECONDS_TO_LOCK = 5


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file to read; pipes, sockets and devices, which need not end, are refused.

    Raises:
        OSError: there is no such file, or it is none to read to its end.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder has an error of its own
        raise OSError(errno.EINVAL, 'Not a regular file', os.fspath(path))
    return open(path, 'rb')


def write_whole(data: bytes, path: Path) -> None:
    """Writes a temporary file beside the target and renames it, so that no reader ever sees a part.

    What was written is on the disk before it has its name, and the name before this returns: a power cut loses nothing
    that was reported as done.

    Raises:
        OSError: the file cannot be written; what stood there before still does.
    """
    part = path.with_name(f'.{uuid.uuid4().hex}.tmp')
    try:
        with part.open('xb') as file:
            with suppress(OSError):  # not every file system has locks
                fcntl.flock(file, fcntl.LOCK_EX)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, which stay when the power fails.

    Raises:
        OSError: it cannot be made.
    """
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in new:
        flush_folder(each.parent)


def flush_folder(folder: Path) -> None:
    """Has the disk keep the names in a folder, where its file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(folder: Path) -> None:
    """Removes what processes that were killed left of files they were writing; a living writer holds a lock."""
    for part in folder.glob('.*.tmp'):
        if not _TEMPORARY.fullmatch(part.name):
            continue
        with suppress(OSError), _locked(part):
            if time.time() - part.stat().st_mtime > _SECONDS_TO_LOCK:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder in another one, for files on their way to their names there; what a kill leaves is swept.

    Raises:
        OSError: it cannot be made.
    """
    folder = parent / f'.{uuid.uuid4().hex}.tmp'
    make_folder(folder)
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of this user alone among the system's temporary ones; what a kill left of earlier ones is swept.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(tempfile.gettempdir())
    sweep(place)
    with scratch_folder(place) as folder:
        folder.chmod(stat.S_IRWXU)
        yield folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Within it a file or folder that this process writes is not swept; raises `OSError` if another one writes it."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def files_below(folder: Path, recursive: bool = True) -> Iterator[Path]:
    """What is in a folder and is none, in no order; linked folders are searched once, after those beside them.

    Args:
        folder: where to look; those below it that cannot be entered are passed over.
        recursive: whether to look into its sub-folders.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    seen, waiting = set(), [folder]
    while waiting:
        links: list[Path] = []
        for top in waiting:
            for place, names, files in os.walk(top, onerror=_raise_for(folder)):
                identity = identity_of(Path(place))
                if identity in seen:
                    names.clear()
                    continue
                seen.add(identity)
                here = Path(place)
                links += (here / name for name in sorted(names) if (here / name).is_symlink())
                yield from (here / name for name in files)
                if not recursive:
                    return
        waiting = links


def _raise_for(folder: Path) -> Callable[[OSError], None]:
    def passed_over(error: OSError) -> None:
        if error.filename == str(folder):
            raise error

    return passed_over


def identity_of(path: Path) -> tuple[int, int] | None:
    """What the file system calls a file or folder, whatever its path, mounts and links; None where nothing is."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that nothing more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
