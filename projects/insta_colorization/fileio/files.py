"""Files that appear whole or not at all, and that end."""

import errno
import os
import stat
import uuid
from pathlib import Path
from typing import BinaryIO


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

    Raises:
        OSError: the file cannot be written; what stood there before still does.
    """
    part = path.with_name(f'.{uuid.uuid4().hex}.tmp')
    try:
        with part.open('xb') as file:
            file.write(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
