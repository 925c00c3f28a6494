"""Files of semantic maps: indexed PNG, as any editor opens and saves them, to classes and back."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from insta_colorization.fileio.files import write_whole
from insta_colorization.structures import (
    CLASS_COLOURS,
    NUM_CLASSES,
    UNKNOWN,
    Size,
    check_classes,
    resize_map,
)

from .decoders import MAX_PIXELS, ImageReadError, open_by_pillow
from .photo import MAP_SUFFIX

if TYPE_CHECKING:
    from PIL import Image

# Grey and indexed files have numbers, the others colours.
_GREY_MODES, _COLOUR_MODES = ('L', 'LA'), ('P', 'PA', 'RGB', 'RGBA')
_PIXELS_AT_ONCE = 2**16


def read_map(
    file: str | os.PathLike[str] | BinaryIO, unknown: bool = False, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Reads a map: an indexed or RGB file in the classes' colours, or a grey one whose values are the classes.

    Args:
        file: a path, or an open file.
        unknown: whether a grey file may have `UNKNOWN` pixels.
        max_pixels: how many pixels it may have.

    Returns:
        (H, W) uint8, classes of `SEMANTIC_CLASSES`.

    Raises:
        ImageReadError: the file cannot be read.
        ValueError: it has more than 8 bits, a colour that is none of the classes', or a value that is no class.
    """
    path = str(file) if isinstance(file, str | os.PathLike) else 'given'
    try:
        with open_by_pillow(file, max_pixels) as image:
            if image.mode in _GREY_MODES:
                ids = np.array(image.getchannel(0))
            elif image.mode in _COLOUR_MODES:
                return _classes_of(image, path)
            else:
                raise ImageReadError(f'a map is an 8-bit indexed, grey or RGB picture, but its mode is {image.mode!r}')
    except ImageReadError as error:
        raise ImageReadError(f'cannot read the map {path}: {error}') from error
    check_classes(np.where(ids == UNKNOWN, 0, ids) if unknown else ids, f'the map {path}')
    return ids


def _classes_of(image: 'Image.Image', path: str) -> np.ndarray:
    """The classes (H, W) uint8 of a picture's colours; a few rows at a time, for it passes through 64-bit integers."""

    def number(colours: np.ndarray) -> np.ndarray:
        return colours.astype(np.int32) @ [2**16, 2**8, 1]

    table = np.full(2**24, UNKNOWN, np.uint8)
    table[number(CLASS_COLOURS)] = np.arange(NUM_CLASSES)
    ids = np.empty((image.height, image.width), np.uint8)
    rows = max(1, _PIXELS_AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        rgb = np.asarray(strip.convert('RGB'))
        ids[top : top + rows] = found = table[number(rgb)]
        if (found == UNKNOWN).any():
            y, x = np.argwhere(found == UNKNOWN)[0].tolist()
            raise ValueError(
                f'the map {path} has the colour {tuple(rgb[y, x].tolist())} at x {x}, y {top + y}, which is none of '
                f'the {NUM_CLASSES} classes; save maps without smoothing, or as a grey picture of the numbers'
            )
    return ids


def encode_map(ids: np.ndarray) -> bytes:
    """The bytes of an indexed PNG in the classes' colours, of a map (H, W).

    Raises:
        ValueError: a value is no class.
    """
    from PIL import Image

    check_classes(ids)
    image = Image.fromarray(ids.astype(np.uint8)).convert('L')
    image.putpalette(CLASS_COLOURS.tobytes())
    out = io.BytesIO()
    image.save(out, 'PNG', optimize=True)
    return out.getvalue()


def write_map(ids: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Writes `encode_map`, whole or not at all; raises `OSError` where it cannot be written."""
    write_whole(encode_map(ids), Path(path))


class Maps(Protocol):
    """The user's maps of the photos of a run."""

    def check(self, photos: Sequence[str]) -> None:
        """Looks up all photos of a run before it begins; raises `ValueError` where maps and photos do not match."""

    def of(self, photo: str, size: Size) -> np.ndarray:
        """The map (H, W) uint8 of a photo of this (height, width); raises `ValueError` where there is none."""


class BackgroundMaps:
    """Every pixel is background, class 0: nothing is known of the photos."""

    def check(self, photos: Sequence[str]) -> None:
        """See `Maps`; every photo has one."""

    def of(self, photo: str, size: Size) -> np.ndarray:
        """See `Maps`."""
        return np.zeros(size, np.uint8)


class MapFiles:
    """The user's maps of the photos of a run: one file, or a folder of files named after their photos.

    In a folder, `a.jpg` has its map in `a.png` or `a.jpg.png`; where there are files with `.map.png`, as `--save-map`
    writes them, those alone are maps.

    Args:
        path: the file or folder.
        max_pixels: how many pixels a map may have.

    Raises:
        FileNotFoundError: there is neither.
    """

    def __init__(self, path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> None:
        self.path = Path(path)
        self._max_pixels = max_pixels
        self._files: dict[str, Path] | None = None
        if self.path.is_dir():
            found = sorted(file for file in self.path.iterdir() if file.suffix.lower() == '.png')
            saved = [file for file in found if file.name.endswith(MAP_SUFFIX)]
            self._files = {_stem(file): file for file in saved or found}
        elif not self.path.is_file():
            raise FileNotFoundError(f'there is no map {self.path}')

    def check(self, photos: Sequence[str]) -> None:
        """Looks up all photos of a run before it begins.

        Raises:
            ValueError: a photo has no map, a map has no photo, or one file is for several photos.
        """
        if self._files is None:
            if len(photos) > 1:
                raise ValueError(f'{self.path} is the map of one photo, but there are {len(photos)}: give a folder')
            return
        files = {photo: self._find(photo) for photo in photos}
        if lacking := [photo for photo, file in files.items() if file is None]:
            expected = f'{Path(lacking[0]).stem}.png'
            raise ValueError(
                f'{len(lacking)} of {len(photos)} photos have no map in {self.path}: {lacking[0]} needs {expected}'
            )
        if spare := sorted(set(self._files.values()) - set(files.values())):
            raise ValueError(f'{spare[0]} is the map of none of the {len(photos)} photos of this run')

    def of(self, photo: str, size: Size) -> np.ndarray:
        """The map (H, W) uint8 of a photo of this (height, width), to which it is brought by nearest.

        Raises:
            ImageReadError: the file cannot be read.
            ValueError: the photo has none, or the file is no map.
        """
        file = self.path if self._files is None else self._find(photo)
        if file is None:
            raise ValueError(f'{photo} has no map in {self.path}')
        return resize_map(read_map(file, max_pixels=self._max_pixels), size)

    def _find(self, photo: str) -> Path | None:
        assert self._files is not None
        path = Path(photo)
        return self._files.get(path.name, self._files.get(path.stem))


def _stem(file: Path) -> str:
    """What a file of a map has of its photo's name: `a` of `a.png`, `a.jpg` of `a.jpg.png`, `a` of `a.png.map.png`."""
    if file.name.endswith(MAP_SUFFIX):
        return Path(file.name.removesuffix(MAP_SUFFIX)).stem
    return file.stem
