"""Lists of photos: text files with one name a line, relative to the photos' folder."""

import zlib
from collections.abc import Iterable
from pathlib import Path, PurePath

from insta_colorization.fileio.files import write_whole
from insta_colorization.imaging.photo import photos_below


def photos_in(folder: Path) -> list[str]:
    """The relative names of all photos in a folder and the folders in it, sorted."""
    return [str(path.relative_to(folder)) for path in sorted(photos_below(folder))]


def read_list(file: Path) -> list[str]:
    """The names in a list; empty lines do not count.

    Raises:
        FileNotFoundError: there is no such list.
    """
    if not file.is_file():
        raise FileNotFoundError(f'the list {file} does not exist')
    return [line for line in file.read_text().splitlines() if line]


def write_list(names: Iterable[str], file: Path) -> None:
    """Writes a list as a whole or not at all."""
    write_whole(''.join(f'{name}\n' for name in names).encode(), file)


def held_back(name: str) -> bool:
    """Whether a photo is one of the tenth that is kept from training, to validate with.

    The name decides, without its suffix, so that any copy of the photos holds back the same ones.
    """
    return zlib.crc32(PurePath(name).with_suffix('').as_posix().encode()) % 10 == 0
