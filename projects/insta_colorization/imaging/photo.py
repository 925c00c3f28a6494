"""Photographs on disk: every common format in, the same photograph in colour out.

Pixels are sRGB, (H, W, 3), uint8 or uint16, upright. libvips decodes, encodes and applies ICC profiles at 8 and 16 bit;
Pillow opens what libvips does not know (BMP among others) and carries EXIF through TIFF, which libvips leaves out.
Files pass through memory as bytes, so that names, folders and disks that fail are Python's business alone.
"""

import io
import logging
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from insta_colorization.fileio.files import write_whole

if TYPE_CHECKING:
    import pyvips
    from PIL import Image

logger = logging.getLogger(__name__)

WRITABLE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.webp')
READABLE_SUFFIXES = (*WRITABLE_SUFFIXES, '.bmp')

# Chroma is the product here, so JPEG keeps it at full resolution. An archive's reader may be old: deflate, no tiles.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    '.png': {'compression': 6, 'filter': 'sub'},
    '.jpg': {'Q': 95, 'subsample_mode': 'off', 'optimize_coding': True},
    '.jpeg': {'Q': 95, 'subsample_mode': 'off', 'optimize_coding': True},
    '.tif': {'compression': 'deflate', 'predictor': 'horizontal'},
    '.tiff': {'compression': 'deflate', 'predictor': 'horizontal'},
    '.webp': {'Q': 95},
}
_16BIT_SUFFIXES = ('.png', '.tif', '.tiff')
_OPAQUE_SUFFIXES = ('.jpg', '.jpeg')

_MM_PER_INCH = 25.4
_DEFAULT_DPI = 72.0
_COLOUR_SPREAD = 0.02
_SRGB_TOLERANCE = 2

# Tags of the first TIFF directory that describe the photo. The others describe how its pixels lie in that very file.
_DESCRIPTIVE_TAGS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, *range(40091, 40096), 33432)
_EXIF_DIRECTORIES = (0x8769, 0x8825)


def is_photo_name(path: PurePath) -> bool:
    """Whether a path below some folder is that of a photo: hidden ones (the `._*` that a Mac adds) are none."""
    hidden = any(part.startswith('.') and part != '..' for part in path.parts)
    return path.suffix.lower() in READABLE_SUFFIXES and not hidden


def photos_below(folder: Path, recursive: bool = True) -> Iterator[Path]:
    """The files in a folder whose names below it are those of photos, in no order."""
    candidates = folder.rglob('*') if recursive else folder.iterdir()
    return (path for path in candidates if is_photo_name(path.relative_to(folder)) and not path.is_dir())


class ImageReadError(ValueError):
    """A file could not be read as a photograph; the message names it and the reason."""


class ImageWriteError(OSError):
    """A photograph could not be written; the message names the file and the reason."""


@dataclass(frozen=True)
class Metadata:
    """What a photograph carries beside its pixels and gets back when it is written.

    Attributes:
        profile: ICC profile to embed, or None.
        convert: whether `profile` is not sRGB, so that pixels are converted to it on writing.
        blobs: EXIF, XMP and IPTC blocks by libvips' field name.
        dpi: (horizontal, vertical) dots per inch.
    """

    profile: bytes | None = None
    convert: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    dpi: tuple[float, float] = (_DEFAULT_DPI, _DEFAULT_DPI)


@dataclass(frozen=True, eq=False)
class Photo:
    """One photograph, upright and in sRGB.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16, RGB.
        alpha: (H, W) of the same dtype, or None.
        metadata: what is written back beside the pixels.
        path: the file it came from, or None.
        is_colour: whether any pixel is visibly not grey.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: Metadata = field(default_factory=Metadata)
    path: Path | None = None
    is_colour: bool = False

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
        return _to_8bit(self.pixels)

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
            alpha = _to_8bit(alpha) if pixels.dtype == np.uint8 else alpha.astype(np.uint16) * 257
        return replace(self, pixels=pixels, alpha=alpha, is_colour=_is_colour(pixels))


def read_photo(path: str | os.PathLike[str]) -> Photo:
    """Reads a photograph: JPEG, PNG, TIFF, WebP, BMP and whatever else libvips or Pillow opens.

    Palettes, 1-bit, grey and CMYK files become RGB; 16 bit stays 16 bit. EXIF orientation is applied. Pixels
    under another profile than sRGB are converted to it, and back to an RGB profile on writing. Of a file with several
    pages the first is taken, which is logged.

    Raises:
        ImageReadError: the file is missing, empty, truncated, not an image, or has pixels that are not integers.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageReadError(f'cannot read {path}: {error.strerror}') from error
    return decode_photo(data, path)


def decode_photo(data: bytes, path: str | os.PathLike[str]) -> Photo:
    """Reads a photograph from the bytes of a file, as `read_photo` does; `path` is its name in messages."""
    if not data:
        raise ImageReadError(f'cannot read {path}: the file is empty')
    vips = _vips()
    try:
        image, exif = _open(data)
        if image.get_typeof('n-pages') and image.get('n-pages') > 1:
            logger.warning('%s has %d pages; the first is used', path, image.get('n-pages'))
        if image.format not in ('uchar', 'ushort'):
            raise ImageReadError(f'its pixels are {image.format}, not 8-bit or 16-bit integers')
        dpi = _read_dpi(image)
        image, profile, convert = _to_srgb(_upright(image))
        blobs = {name: image.get(name) for name in ('xmp-data', 'iptc-data') if image.get_typeof(name)}
        if exif:
            blobs['exif-data'] = exif
        photo = Photo._from_bands(image.numpy().reshape(image.height, image.width, -1))
    except ImageReadError as error:
        raise ImageReadError(f'cannot read {path}: {error}') from error
    except vips.Error as error:
        raise ImageReadError(f'cannot read {path}: {_reason(error)}') from error
    return replace(photo, metadata=Metadata(profile, convert, blobs, dpi), path=Path(path))


def load_rgb(file: str | os.PathLike[str] | BinaryIO) -> np.ndarray:
    """Reads a photo for training: upright RGB without profiles, 16-bit grey brought to 8 bit.

    By Pillow alone, because libvips (`read_photo`) hangs in the forked workers of a data loader once the parent has
    used it.

    Args:
        file: a path, or an open file.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageReadError: there is no readable photo.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            photo = ImageOps.exif_transpose(opened)
            if photo.mode.startswith('I'):  # Pillow would cut everything above 255 off
                photo = Image.fromarray(_to_8bit(np.asarray(photo).astype(np.uint16)))
            return np.array(photo.convert('RGB'))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageReadError(f'cannot read {file}: {error}') from error


def write_photo(photo: Photo | np.ndarray, path: str | os.PathLike[str]) -> None:
    """Writes a photograph as PNG, JPEG, TIFF or WebP, as the suffix says, with the metadata it came with.

    JPEG and WebP have 8 bits: 16-bit pixels are rounded. JPEG has no alpha: it is left out. The file appears whole or
    not at all, and an existing one is replaced.

    Raises:
        ValueError: the suffix is none of `WRITABLE_SUFFIXES`, or an array is no photo.
        ImageWriteError: the file cannot be written, or its format cannot hold the photo.
    """
    photo = photo if isinstance(photo, Photo) else Photo.from_array(photo)
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE_SUFFIXES:
        raise ValueError(f'cannot write {path}: its suffix must be one of {", ".join(WRITABLE_SUFFIXES)}')
    try:
        write_whole(_encode(photo, suffix), path)
    except _vips().Error as error:
        raise ImageWriteError(f'cannot write {path}: {_reason(error)}') from error
    except OSError as error:
        raise ImageWriteError(f'cannot write {path}: {error.strerror or error}') from error


@cache
def _vips() -> Any:
    try:
        import pyvips
    except (ImportError, OSError) as error:
        raise ImportError('reading and writing photos needs libvips: pip install "pyvips[binary]"') from error
    # Its cache would hold on to photos that are done with, some of its loaders are not meant for files from outside,
    # and what it warns about is either repaired by the decoder or raised as an error.
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    logging.getLogger('pyvips').setLevel(logging.ERROR)
    return pyvips


def _reason(error: Exception) -> str:
    """The first line of detail in an error of libvips, whose first line only names the failed call."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else 'its content is damaged or cut short'


def _to_8bit(values: np.ndarray) -> np.ndarray:
    return values if values.dtype == np.uint8 else _rounded_to_8bit()[values]


@cache
def _rounded_to_8bit() -> np.ndarray:
    return (np.arange(65536) / 257).round().astype(np.uint8)


def _is_colour(pixels: np.ndarray) -> bool:
    """Whether a pixel's channels differ by over 2 % of the range: JPEG and profiles move greys by less."""
    limit = round(_COLOUR_SPREAD * np.iinfo(pixels.dtype).max)
    for rows in np.array_split(pixels, max(1, pixels.size // 2**21)):
        red, green, blue = rows[..., 0], rows[..., 1], rows[..., 2]
        low = np.minimum(np.minimum(red, green), blue)
        if (np.maximum(np.maximum(red, green), blue) - low > limit).any():
            return True
    return False


def _open(data: bytes) -> tuple['pyvips.Image', bytes | None]:
    """Decodes a file's header; returns the image and its EXIF block."""
    vips = _vips()
    try:
        image = vips.Image.new_from_buffer(data, '', access='sequential', fail_on='error')
    except vips.Error as error:
        if 'known format' not in str(error):
            raise
        image = vips.Image.new_from_buffer(_as_png(data), '', access='sequential', fail_on='error')
    if image.get('vips-loader').startswith('tiff'):
        exif = _descriptive_exif(data)
        return image, exif.tobytes() if exif else None
    return image, image.get('exif-data') if image.get_typeof('exif-data') else None


def _as_png(data: bytes) -> bytes:
    """Rewrites a file that only Pillow knows as an uncompressed PNG."""
    from PIL import Image

    out = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            known = image if image.mode in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16') else image.convert('RGB')
            known.save(out, 'PNG', compress_level=0, dpi=image.info.get('dpi'), exif=image.getexif())
    except Image.UnidentifiedImageError as error:
        raise ImageReadError('not an image in a known format') from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageReadError(str(error)) from error
    return out.getvalue()


def _upright(image: 'pyvips.Image') -> 'pyvips.Image':
    """Applies the orientation tag, which needs the rows in another order than they come."""
    if image.get_typeof('orientation') and image.get('orientation') != 1:
        return image.copy_memory().autorot()
    return image


def _read_dpi(image: 'pyvips.Image') -> tuple[float, float]:
    """(horizontal, vertical); libvips gives pixels per millimetre, and exactly 1 for a file that does not say."""
    if image.xres == 1 and image.yres == 1:
        return _DEFAULT_DPI, _DEFAULT_DPI
    return image.xres * _MM_PER_INCH, image.yres * _MM_PER_INCH


def _to_srgb(image: 'pyvips.Image') -> tuple['pyvips.Image', bytes | None, bool]:
    """Brings pixels to grey or RGB under sRGB.

    Returns:
        the image; the profile to write; whether pixels must be converted to it then.
    """
    wide = image.format == 'ushort'
    profile = image.get('icc-profile-data') if image.get_typeof('icc-profile-data') else None
    if image.interpretation in ('srgb', 'rgb16', 'rgb') and profile:
        state = _kind_of_profile(profile)
        if state == 'srgb':
            return image, profile, False
        if state == 'unusable':
            return image, None, False
        image = image.icc_transform('srgb', embedded=True, depth=16 if wide else 8)
        return image, (profile if state == 'convert' else image.get('icc-profile-data')), state == 'convert'
    if image.interpretation in ('b-w', 'grey16') and profile:
        image = image.icc_transform('srgb', embedded=True, depth=16 if wide else 8)
        return image, image.get('icc-profile-data'), False
    if image.interpretation not in ('srgb', 'rgb16', 'rgb', 'b-w', 'grey16'):
        image = image.colourspace('rgb16' if wide else 'srgb')
    return image, None, False


@lru_cache(maxsize=32)
def _kind_of_profile(profile: bytes) -> str:
    """Sorts RGB profiles by what they do to a grid of colours.

    Returns:
        'srgb' when they leave it as it is, 'convert' when they can be applied both ways, 'input' when only from the
        profile to sRGB (scanners), 'unusable' when not even that.
    """
    vips = _vips()
    axis = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(1, -1, 3)
    image = vips.Image.new_from_array(grid, interpretation='srgb')
    image.set_type(vips.GValue.blob_type, 'icc-profile-data', profile)
    try:
        srgb = image.icc_transform('srgb', embedded=True).numpy()
    except vips.Error:
        return 'unusable'
    if np.abs(srgb.astype(int) - grid).max() <= _SRGB_TOLERANCE:
        return 'srgb'
    try:
        _from_srgb(vips.Image.new_from_array(grid, interpretation='srgb'), profile).numpy()
    except vips.Error:
        return 'input'
    return 'convert'


def _from_srgb(image: 'pyvips.Image', profile: bytes) -> 'pyvips.Image':
    """Converts sRGB pixels to another RGB profile, by way of CIELAB."""
    vips = _vips()
    depth = 16 if image.format == 'ushort' else 8
    lab = image.icc_import(input_profile='srgb').copy()
    lab.set_type(vips.GValue.blob_type, 'icc-profile-data', profile)
    return lab.icc_export(depth=depth)


def _encode(photo: Photo, suffix: str) -> bytes:
    """The bytes of a file of this kind."""
    vips = _vips()
    pixels, alpha, metadata = photo.pixels, photo.alpha, photo.metadata
    if suffix not in _16BIT_SUFFIXES:
        pixels, alpha = _to_8bit(pixels), None if alpha is None else _to_8bit(alpha)
    if alpha is not None and suffix not in _OPAQUE_SUFFIXES:
        pixels = np.dstack([pixels, alpha])
    image = vips.Image.new_from_array(pixels, interpretation='rgb16' if pixels.dtype == np.uint16 else 'srgb')
    if metadata.profile and metadata.convert:
        image = _from_srgb(image, metadata.profile)
    xres, yres = (dpi / _MM_PER_INCH for dpi in metadata.dpi)
    image = image.copy(xres=xres, yres=yres)
    image.set_type(vips.GValue.gstr_type, 'resolution-unit', 'in')
    for name, blob in _upright_blobs(metadata).items():
        image.set_type(vips.GValue.blob_type, name, blob)
    image.set_type(vips.GValue.gint_type, 'orientation', 1)
    if image.get_typeof('jpeg-thumbnail-data'):
        image.remove('jpeg-thumbnail-data')  # it shows the photo without its colour
    data = image.write_to_buffer(suffix, **_SAVE_OPTIONS[suffix])
    if 'exif-data' in metadata.blobs and suffix in ('.tif', '.tiff'):
        return _with_exif(data, metadata.blobs['exif-data'])
    return data


def _upright_blobs(metadata: Metadata) -> dict[str, bytes]:
    """The metadata blocks to embed; XMP repeats the orientation, which the pixels have already."""
    blobs = dict(metadata.blobs)
    if 'xmp-data' in blobs:
        blobs['xmp-data'] = re.sub(rb'(tiff:Orientation(?:="|>))\d', rb'\g<1>1', blobs['xmp-data'])
    if metadata.profile:
        blobs['icc-profile-data'] = metadata.profile
    return blobs


def _descriptive_exif(block: bytes) -> 'Image.Exif':
    """The part of an EXIF block, or of a whole TIFF file (an EXIF block is one), that describes the photo."""
    from PIL import Image

    source, kept = Image.Exif(), Image.Exif()
    kept.endian = '<'
    try:
        source.load(block)
        kept.update({tag: source[tag] for tag in _DESCRIPTIVE_TAGS if tag in source})
        for directory in _EXIF_DIRECTORIES:
            if directory in source:
                kept[directory] = source.get_ifd(directory)
    except (SyntaxError, ValueError, struct.error) as error:
        logger.warning('EXIF data is left out: %s', error)
    return kept


def _with_exif(tiff: bytes, block: bytes) -> bytes:
    """Adds EXIF to a little-endian TIFF file in memory: appends its directories, then a merged first directory."""
    start = len(tiff) + len(tiff) % 2
    directories = _descriptive_exif(block).tobytes(start).removeprefix(b'Exif\0\0')[8:]
    tiff = tiff.ljust(start, b'\0') + directories
    entries = {entry[:2]: entry for at in (start, struct.unpack_from('<L', tiff, 4)[0]) for entry in _entries(tiff, at)}
    merged = b''.join(sorted(entries.values(), key=lambda entry: struct.unpack_from('<H', entry)))
    head = tiff[:4] + struct.pack('<L', len(tiff))
    return head + tiff[8:] + struct.pack('<H', len(entries)) + merged + bytes(4)


def _entries(tiff: bytes, offset: int) -> list[bytes]:
    """The 12-byte entries of the TIFF directory at an offset."""
    (count,) = struct.unpack_from('<H', tiff, offset)
    return [tiff[at : at + 12] for at in range(offset + 2, offset + 2 + 12 * count, 12)]
