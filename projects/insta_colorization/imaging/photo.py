"""Photographs on disk: every common format in, the same photograph in colour out.

Pixels are sRGB, (H, W, 3), uint8 or uint16, upright. Files pass through memory as bytes, so that names, folders and
disks that fail are Python's business alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO, Union

import numpy as np

from insta_colorization.fileio.files import files_below, open_regular, write_whole

from .codecs import (
    QUALITY,
    READABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    ImageWriteError,
    Metadata,
    decode,
    encode,
    in_photo_mode,
    pages_in,
    png_of,
    to_8bit,
    value_bits,
)
from .decoders import MAX_PIXELS, ImageReadError, open_by_pillow

if TYPE_CHECKING:
    from PIL import Image

Source = Union[str, os.PathLike[str], bytes, np.ndarray, 'Image.Image', 'Page', 'Photo']

# What is put behind the name of a result, so that the file is the map of that photo, see `maps.write_map`.
MAP_SUFFIX = '.map.png'
# How much of a file's head and tail tells whether it is whole: the directory of a TIFF is the longest.
ENDS = 512
_COLOUR_SPREAD = 0.02
# Synology, QNAP, zip files of a Mac, Windows.
_SERVICE_FOLDERS = {'@eadir', '#recycle', '@recycle', '@recently-snapshot', '__macosx', '$recycle.bin', 'lost+found'}


def is_photo_name(path: PurePath) -> bool:
    """Whether a path below some folder is that of a photo, see `is_shown`."""
    return path.suffix.lower() in READABLE_SUFFIXES and is_shown(path)


def is_shown(path: PurePath) -> bool:
    """Whether a path below some folder is one that people see there.

    Hidden files (the `._*` that a Mac adds) are none, nor are thumbnails and waste baskets of servers.
    """
    hidden = any(part.startswith('.') and part != '..' for part in path.parts)
    return not hidden and _SERVICE_FOLDERS.isdisjoint(part.lower() for part in path.parts)


def photos_below(folder: Path, recursive: bool = True) -> Iterator[Path]:
    """The files in a folder whose names below it are those of photos, in no order; see `files_below`."""
    return (path for path in files_below(folder, recursive) if is_photo_name(path.relative_to(folder)))


@dataclass(frozen=True)
class Page:
    """One page of a file.

    Attributes:
        file: the file.
        number: of the page or frame, from 0.
    """

    file: Path
    number: int


@dataclass(frozen=True, eq=False)
class Photo:
    """One photograph, upright and in sRGB.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16, RGB.
        alpha: (H, W) of the same dtype, or None.
        metadata: what is written back beside the pixels.
        path: the file it came from, or None.
        is_colour: whether any pixel is visibly not grey.
        digest: SHA-256 of the bytes of the file it came from, or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: Metadata = field(default_factory=Metadata)
    path: Path | None = None
    is_colour: bool = False
    digest: str | None = None

    @classmethod
    def from_array(cls, array: np.ndarray) -> 'Photo':
        """Takes an array that is in sRGB already.

        Args:
            array: (H, W) or (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA; uint8, uint16, or floating point in 0..1,
                which becomes uint16 so that no lightness is lost.

        Raises:
            ValueError: another shape or dtype, no pixels, or floating-point values outside 0..1.
        """
        array = np.asarray(array)
        shape = f'shape {array.shape} and dtype {array.dtype}'
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
            raise ValueError(f'a photo must have shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), but got {shape}')
        if np.issubdtype(array.dtype, np.floating):
            if not (array.min() >= 0 and array.max() <= 1):
                raise ValueError(
                    f'a floating-point photo must lie in 0..1, but got {array.min()}..{array.max()} in {shape}'
                )
            array = (array * 65535).round().astype(np.uint16)
        if array.dtype not in (np.uint8, np.uint16):
            raise ValueError(f'a photo must be uint8, uint16 or floating point in 0..1, but got {shape}')
        return cls._from_bands(array)

    @classmethod
    def _from_bands(cls, array: np.ndarray) -> 'Photo':
        """Splits (H, W, C) into colour and alpha: 1 band is grey, 2 grey and alpha, 3 RGB, more RGB and alpha."""
        bands = array.shape[2]
        pixels = np.repeat(array[..., :1], 3, axis=2) if bands < 3 else np.ascontiguousarray(array[..., :3])
        alpha = np.ascontiguousarray(array[..., 1 if bands == 2 else 3]) if bands in (2, 4) else None
        return cls(pixels, alpha, is_colour=bands > 2 and _is_colour(pixels))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def rgb8(self) -> np.ndarray:
        """(H, W, 3) uint8: the pixels for detector and network, rounded where they have 16 bit."""
        return to_8bit(self.pixels)

    def with_pixels(self, pixels: np.ndarray) -> 'Photo':
        """The same photograph (alpha, metadata, path) with other pixels, (H, W, 3) of either dtype.

        Raises:
            ValueError: the size differs or the dtype is neither uint8 nor uint16.
        """
        if pixels.shape != self.pixels.shape or pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f'pixels must be uint8 or uint16 of shape {self.pixels.shape}, but got {pixels.dtype} of {pixels.shape}'
            )
        alpha = self.alpha
        if alpha is not None and alpha.dtype != pixels.dtype:
            alpha = to_8bit(alpha) if pixels.dtype == np.uint8 else alpha.astype(np.uint16) * 257
        return replace(self, pixels=pixels, alpha=alpha, is_colour=_is_colour(pixels))


def read_photo(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, page: int | None = None) -> Photo:
    """Reads a photograph: JPEG, PNG, TIFF, WebP, BMP and others on the lists of `decoders`.

    Palettes, 1-bit, grey and CMYK files become RGB; 16 bit stays 16 bit. EXIF orientation is applied. Pixels
    under another profile than sRGB are converted to it, and back to an RGB profile on writing. Of a file with several
    pages the first is taken unless it is a preview, which is logged. Numbers of other kinds are scaled, see
    `tiff.to_depth`.

    Args:
        path: a regular file.
        max_pixels: how many pixels it may have; its header says so before anything is decoded.
        page: another page or frame, from 0.

    Raises:
        ImageReadError: the file is missing, no regular one, empty, truncated, not an image, too large, has no such
            page, or numbers of which none is known to be white.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise ImageReadError(f'cannot read {path}: {error.strerror}') from error
    return decode_photo(data, path, max_pixels, page)


def count_pages(path: Path, max_pixels: int = MAX_PIXELS) -> int:
    """How many pages, or frames, a file has; 1 for what `read_photo` cannot read."""
    try:
        with open_regular(path) as file:
            return pages_in(file.read(), max_pixels)
    except OSError:
        return 1


def decode_photo(
    data: bytes, path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, page: int | None = None
) -> Photo:
    """Reads a photograph from the bytes of a file, as `read_photo` does; `path` is its name in messages."""
    bands, metadata = decode(data, str(path), max_pixels, page)
    return replace(Photo._from_bands(bands), metadata=metadata, path=Path(path), digest=sha256(data).hexdigest())


def as_photo(source: Source, max_pixels: int = MAX_PIXELS) -> Photo:
    """A photograph from a path, a page, the bytes of a file, an array (`Photo.from_array`) or one of Pillow's images.

    Args:
        source: any of these, or a photograph.
        max_pixels: how many pixels a file may have, see `read_photo`.

    Raises:
        ImageReadError: there is no readable photo.
        TypeError: it is none of these.
        ValueError: an array is no photo.
    """
    from PIL import Image

    if isinstance(source, Photo):
        return source
    if isinstance(source, Page):
        return read_photo(source.file, max_pixels, source.number)
    if isinstance(source, np.ndarray):
        return Photo.from_array(source)
    if isinstance(source, bytes):
        return decode_photo(source, 'bytes', max_pixels)
    if isinstance(source, Image.Image):
        return decode_photo(png_of(source), 'image', max_pixels)
    if isinstance(source, str | os.PathLike):
        return read_photo(source, max_pixels)
    raise TypeError(f'a photo must be a path, bytes, an array or an image, but got {type(source).__name__}')


def load_rgb(file: str | os.PathLike[str] | BinaryIO, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a photo for training: upright RGB without profiles, 16-bit grey brought to 8 bit.

    By Pillow alone, because libvips (`read_photo`) hangs in the forked workers of a data loader once the parent has
    used it.

    Args:
        file: a path, or an open file.
        max_pixels: how many pixels it may have, see `read_photo`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageReadError: there is no readable photo.
    """
    from PIL import Image, ImageOps

    try:
        with open_by_pillow(file, max_pixels) as opened:
            photo = in_photo_mode(ImageOps.exif_transpose(opened), value_bits(opened))
            if photo.mode == 'I;16':  # Pillow would cut everything above 255 off
                photo = Image.fromarray(to_8bit(np.asarray(photo)))
            return np.array(photo.convert('RGB'))
    except ImageReadError as error:
        raise ImageReadError(f'cannot read {file}: {error}') from error


def encode_photo(photo: Photo | np.ndarray, suffix: str, quality: int = QUALITY) -> bytes:
    """The bytes of a PNG, JPEG, TIFF or WebP file of a photograph, with the metadata it came with.

    JPEG and WebP have 8 bits: 16-bit pixels are rounded. JPEG has no alpha: it is left out.

    Args:
        photo: the photograph, or an array as `Photo.from_array` takes it.
        suffix: one of `WRITABLE_SUFFIXES`, in any case.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        ValueError: another suffix, or an array that is no photo.
        ImageWriteError: the format cannot hold the photo.
    """
    if suffix.lower() not in WRITABLE_SUFFIXES:
        raise ValueError(f'the suffix of a photo must be one of {", ".join(WRITABLE_SUFFIXES)}, but got {suffix!r}')
    photo = photo if isinstance(photo, Photo) else Photo.from_array(photo)
    return encode(photo.pixels, photo.alpha, photo.metadata, suffix.lower(), quality)


def write_photo(photo: Photo | np.ndarray, path: str | os.PathLike[str], quality: int = QUALITY) -> None:
    """Writes a photograph in the format of the path's suffix, see `encode_photo`.

    The file appears whole or not at all, and an existing one is replaced.

    Raises:
        ValueError: the suffix is none of `WRITABLE_SUFFIXES`, or an array is no photo.
        ImageWriteError: the file cannot be written, or its format cannot hold the photo.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise ValueError(f'cannot write {path}: its suffix must be one of {", ".join(WRITABLE_SUFFIXES)}')
    with naming_target(path):
        write_whole(encode_photo(photo, path.suffix, quality), path)


@contextmanager
def naming_target(path: Path) -> Iterator[None]:
    """Within it what is wrong with the writing of a photo becomes an `ImageWriteError` that names its file."""
    try:
        yield
    except OSError as error:
        raise ImageWriteError(f'cannot write {path}: {error.strerror or error}') from error


def require_end(path: Path) -> None:
    """Checks, without decoding it, that a file of one of the formats written here ends as its format says.

    Raises:
        ValueError: it is cut short.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        head = file.read(ENDS)
        file.seek(max(0, size - ENDS))
        tail = file.read()
    if not is_whole(size, head, tail):
        raise ValueError(f'{path} exists, but is cut short; delete it, or overwrite it')


def is_whole(size: int, head: bytes, tail: bytes) -> bool:
    """Whether a file ends as its format says; one of a format that is not written here does.

    Args:
        size: how many bytes it has.
        head: its first `ENDS` bytes.
        tail: its last `ENDS` bytes.
    """
    if head.startswith(b'\x89PNG'):
        return tail[-12:].startswith(bytes(4) + b'IEND')
    if head.startswith(b'\xff\xd8'):
        return tail.endswith(b'\xff\xd9')
    if head.startswith(b'RIFF'):
        return int.from_bytes(head[4:8], 'little') + 8 <= size
    # The first directory of a TIFF is written last; where it begins earlier than the tail, another program did.
    start = int.from_bytes(head[4:8], 'little') - (size - len(tail))
    if not head.startswith(b'II*\0') or start < 0:
        return True
    return start + 6 + 12 * int.from_bytes(tail[start : start + 2], 'little') <= len(tail)


def _is_colour(pixels: np.ndarray) -> bool:
    """Whether a pixel's channels differ by over 2 % of the range: JPEG and profiles move greys by less."""
    limit = round(_COLOUR_SPREAD * np.iinfo(pixels.dtype).max)
    for rows in np.array_split(pixels, max(1, pixels.size // 2**21)):
        red, green, blue = rows[..., 0], rows[..., 1], rows[..., 2]
        low = np.minimum(np.minimum(red, green), blue)
        if (np.maximum(np.maximum(red, green), blue) - low > limit).any():
            return True
    return False
