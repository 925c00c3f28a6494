"""Files that appear whole or not at all."""

import uuid
from pathlib import Path


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
