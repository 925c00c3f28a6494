"""Bytes of image files to pixels and back.

libvips decodes, encodes and applies ICC profiles at 8 and 16 bit; Pillow opens what libvips does not know (BMP among
others) and carries EXIF through TIFF, which libvips leaves out.
"""

import io
import logging
import math
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .decoders import (
    MAX_PIXELS,
    ImageReadError,
    check_pixels,
    libvips,
    open_by_pillow,
    open_by_vips,
    reason_of,
    way_out,
    with_own_error,
)
from .exif import (
    BIG_ENDIAN_BIGTIFF,
    OF_SENSORS,
    XMP_TAG,
    TiffMetadata,
    iptc_of_photoshop,
    photoshop_of_iptc,
    psd_metadata,
    tiff_metadata,
    with_metadata,
)
from .icc import grey_table, of_own_length
from .jpeg import extension_of, with_extension
from .png import with_early_metadata
from .tiff import MOST_PAGES, Layout, lab_of, layouts_of, read_by_tifffile, to_depth
from .xmp import divided, joined

if TYPE_CHECKING:
    import pyvips
    from PIL import Image

logger = logging.getLogger(__name__)

WRITABLE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.webp')
READABLE_SUFFIXES = (
    *(*WRITABLE_SUFFIXES, '.bmp', '.jfif', '.jpe', '.jp2', '.j2k', '.avif', '.gif', '.pbm', '.pgm', '.ppm', '.pnm'),
    *('.tga', '.pcx', '.sgi', '.psd', '.qoi', '.dib', '.apng'),
)

# Of JPEG and WebP.
QUALITY = 95
# Chroma is the product here, so JPEG keeps it at full resolution. An archive's reader may be old: deflate, no tiles.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    '.png': {'compression': 6, 'filter': 'sub'},
    '.jpg': {'subsample_mode': 'off', 'optimize_coding': True},
    '.jpeg': {'subsample_mode': 'off', 'optimize_coding': True},
    '.tif': {'compression': 'deflate', 'predictor': 'horizontal'},
    '.tiff': {'compression': 'deflate', 'predictor': 'horizontal'},
    '.webp': {},
}
_16BIT_SUFFIXES = ('.png', '.tif', '.tiff')
_LOSSY_SUFFIXES = ('.jpg', '.jpeg', '.webp')
_LONGEST_WEBP = 16383
_OPAQUE_SUFFIXES = ('.jpg', '.jpeg')
# What libvips writes into a segment of a JPEG; it leaves longer packets out without a word.
_LONGEST_XMP = 60_000

_MM_PER_INCH = 25.4
_DEFAULT_DPI = 72.0
_LARGEST_DPI = 1e6
_SRGB_TOLERANCE = 2
_BITS_TAG, _TWELVE = 258, 12
# Pillow's modes with alpha that no PNG has, and the next ones that it has.
_MODES_WITH_ALPHA = {'La': 'LA', 'PA': 'RGBA', 'RGBa': 'RGBA'}
_TIFF_HEADS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
# Fields of an image that stay when its numbers become others.
_CARRIED = ('vips-loader', 'icc-profile-data', 'xmp-data', 'orientation', 'resolution-unit', 'n-pages')
_PSD = b'8BPS'
# SGI, JPEG 2000 and its codestream.
_SGI, _JP2, _J2K = b'\x01\xda', b'\0\0\0\x0cjP  ', b'\xff\x4f\xff\x51'
_PPM = re.compile(rb'P6' + 3 * rb'(?:\s|#[^\n]*\n)+(\d{1,9})' + rb'\s')
# What a JPEG of several pictures says behind its metadata, and an animated AVIF at the start.
_MPO, _HEAD_BYTES, _AVIF_FRAMES = b'MPF\0', 2**20, b'ftypavis'
_LOADERS_WITH_PAGES = ('gif', 'tiff', 'webp')


class ImageWriteError(OSError):
    """A photograph could not be written; the message names the file and the reason."""


@dataclass(frozen=True)
class Metadata:
    """What a photograph carries beside its pixels and gets back when it is written.

    Attributes:
        profile: ICC profile to embed, or None.
        convert: whether `profile` is not sRGB, so that pixels are converted to it on writing.
        blobs: EXIF, XMP and IPTC blocks by libvips' field name; IPTC is bare, as in a TIFF.
        dpi: (horizontal, vertical) dots per inch.
    """

    profile: bytes | None = None
    convert: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    dpi: tuple[float, float] = (_DEFAULT_DPI, _DEFAULT_DPI)


def decode(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS, page: int | None = None
) -> tuple[np.ndarray, Metadata]:
    """Decodes the bytes of a file.

    Args:
        data: the bytes.
        name: what messages call the file.
        max_pixels: how many pixels it may have; its header says so before anything is decoded.
        page: which of its pages, from 0; None for the picture: the first one that is no preview.

    Returns:
        (H, W, C) uint8 or uint16, upright: one band is grey, two are grey and alpha, three sRGB, more sRGB and alpha;
        and what the photo carries besides.

    Raises:
        ImageReadError: the bytes are empty, cut short, no image, or have too many pixels, no such page, or numbers of
            which none is known to be white.
    """
    if not data:
        raise ImageReadError(f'cannot read {name}: the file is empty')
    try:
        pixels, metadata, pages, other = with_own_error(_decode, data, max_pixels, page)
    except (ImageReadError, libvips().Error) as error:
        reason = way_out(data) or (str(error) if isinstance(error, ImageReadError) else reason_of(error))
        raise ImageReadError(f'cannot read {name}: {reason}') from error
    if pixels.dtype == np.uint8 and (bits := _bits_of_colours(data)) > 8:
        logger.warning('%s has %d bits, of which 8 are read; `magick IN -depth 16 OUT.tif` keeps them', name, bits)
    if other:
        logger.warning('%s begins with a preview; the picture itself is used', name)
    elif pages > 1 and page is None:
        logger.warning('%s has %d pages; the first is used (--pages takes others)', name, pages)
    return pixels, metadata


def pages_in(data: bytes, max_pixels: int = MAX_PIXELS) -> int:
    """How many pages, or frames, the bytes of a file have; 1 for what cannot be read."""
    try:
        return with_own_error(lambda: _pages(_open(data, max_pixels, 0).image, data))
    except (ImageReadError, libvips().Error):
        return 1


def xmp_of(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> bytes:
    """The XMP packet of a file, whose pixels are not decoded; b'' for none; raises as `decode` does."""

    def found() -> bytes:
        opened = _open(data, max_pixels, 0)
        return _xmp_in(opened.image, opened.said, data)

    try:
        return with_own_error(found)
    except ImageReadError as error:
        raise ImageReadError(f'cannot read {name}: {error}') from error
    except libvips().Error as error:
        raise ImageReadError(f'cannot read {name}: {reason_of(error)}') from error


def _xmp_in(image: 'pyvips.Image', said: TiffMetadata, data: bytes) -> bytes:
    """The XMP packet of an image that was opened from these bytes; b'' for none."""
    # Other decoders than libvips do not pass it on.
    packet = image.get('xmp-data') if image.get_typeof('xmp-data') else said.xmp
    rest = extension_of(data)
    return joined(packet, rest) if packet and rest else packet


def _decode(data: bytes, max_pixels: int, page: int | None) -> tuple[np.ndarray, Metadata, int, bool]:
    """The pixels, what else there is, how many pages the file has, and whether another than the first is used."""
    image, said, other, layout = _open(data, max_pixels, page)
    pages = _pages(image, data)
    if image.format not in ('uchar', 'ushort') or (layout and layout.is_icclab):
        image = _in_depth(image, layout)
    dpi = _read_dpi(image, data)
    image, profile, convert = _to_srgb(_upright(image))
    blobs = {'exif-data': said.exif, 'iptc-data': said.iptc, 'xmp-data': _xmp_in(image, said, data)}
    pixels = image.numpy().reshape(image.height, image.width, -1)
    kept = {name: blob for name, blob in blobs.items() if blob}
    return pixels, Metadata(profile, convert, kept, dpi), pages, other


def encode(
    pixels: np.ndarray, alpha: np.ndarray | None, metadata: Metadata, suffix: str, quality: int = QUALITY
) -> bytes:
    """The bytes of a file; JPEG and WebP round to 8 bits, JPEG leaves alpha out.

    Args:
        pixels: (H, W, 3) sRGB, uint8 or uint16.
        alpha: (H, W) of the same dtype, or None.
        metadata: what is embedded besides.
        suffix: one of `WRITABLE_SUFFIXES`.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        ImageWriteError: the format cannot hold the photo.
    """
    if suffix == '.webp' and max(pixels.shape[:2]) > _LONGEST_WEBP:
        size = f'{pixels.shape[1]} x {pixels.shape[0]}'
        raise ImageWriteError(f'WebP has at most {_LONGEST_WEBP} pixels a side, but the photo has {size}')
    if suffix not in _16BIT_SUFFIXES:
        pixels, alpha = to_8bit(pixels), None if alpha is None else to_8bit(alpha)
    if alpha is not None and suffix not in _OPAQUE_SUFFIXES:
        pixels = np.dstack([pixels, alpha])
    try:
        return with_own_error(_encode, pixels, metadata, suffix, quality)
    except libvips().Error as error:
        if not metadata.profile:
            raise ImageWriteError(reason_of(error)) from error
        data = encode(pixels, alpha, replace(metadata, profile=None, convert=False), suffix, quality)
        logger.warning('the profile is left out, which cannot be written: %s', reason_of(error))
        return data


def _encode(pixels: np.ndarray, metadata: Metadata, suffix: str, quality: int) -> bytes:
    vips = libvips()
    image = vips.Image.new_from_array(pixels, interpretation='rgb16' if pixels.dtype == np.uint16 else 'srgb')
    if metadata.profile and metadata.convert:
        image = _from_srgb(image, metadata.profile)
    xres, yres = (dpi / _MM_PER_INCH for dpi in metadata.dpi)
    image = image.copy(xres=xres, yres=yres)
    image.set_type(vips.GValue.gstr_type, 'resolution-unit', 'in')
    blobs = _upright_blobs(metadata)
    iptc = blobs.pop('iptc-data', b'')
    if iptc and suffix in _OPAQUE_SUFFIXES:
        blobs['iptc-data'] = photoshop_of_iptc(iptc)
    rest = b''
    if suffix in _OPAQUE_SUFFIXES and len(blobs.get('xmp-data', b'')) > _LONGEST_XMP:
        with suppress(ValueError):  # what is no XMP is left out by libvips
            blobs['xmp-data'], rest = divided(blobs['xmp-data'], _LONGEST_XMP)
    for name, blob in blobs.items():
        image.set_type(vips.GValue.blob_type, name, blob)
    image.set_type(vips.GValue.gint_type, 'orientation', 1)
    if image.get_typeof('jpeg-thumbnail-data'):
        image.remove('jpeg-thumbnail-data')  # it shows the photo without its colour
    chosen = {'Q': quality} if suffix in _LOSSY_SUFFIXES else {}
    data = image.write_to_buffer(suffix, **_SAVE_OPTIONS[suffix], **chosen)
    if suffix in ('.tif', '.tiff'):
        return with_metadata(data, blobs.get('exif-data', b''), iptc, (image.width, image.height))
    return with_extension(data, rest) if rest else data


def to_8bit(values: np.ndarray) -> np.ndarray:
    """Values of uint8 or uint16 as uint8, rounded."""
    return values if values.dtype == np.uint8 else _rounded_to_8bit()[values]


@cache
def _rounded_to_8bit() -> np.ndarray:
    return (np.arange(65536) / 257).round().astype(np.uint8)


class _Opened(NamedTuple):
    """A file whose header is decoded.

    Attributes:
        image: its picture, or the page that was asked for.
        said: what the file says besides.
        other: whether the picture is not the first page.
        layout: how the pixels of a TIFF are stored, where that is known.
    """

    image: 'pyvips.Image'
    said: TiffMetadata
    other: bool = False
    layout: Layout | None = None


def _open(data: bytes, max_pixels: int, page: int | None) -> _Opened:
    """Decodes the header of a file, of one of its pages or, by None, of its picture."""
    if data[:4] in _TIFF_HEADS:
        return _open_tiff(data, max_pixels, page)
    data = with_early_metadata(data)
    image = open_by_vips(data, max_pixels)
    if image is None:
        image = _wide_pixmap(data, max_pixels) or _by_pillow(data, max_pixels)
    if page:
        pages = _pages(image, data)
        if page >= pages:
            raise ImageReadError(f'it has no page {page + 1}, but {pages}')
        by_vips = image.get('vips-loader').startswith(_LOADERS_WITH_PAGES)
        image = (open_by_vips(data, max_pixels, page=page) if by_vips else None) or _by_pillow(data, max_pixels, page)
    if data.startswith(_PSD):
        said, dpi = psd_metadata(data)
        if _is_possible(dpi):
            image = image.copy(xres=dpi[0] / _MM_PER_INCH, yres=dpi[1] / _MM_PER_INCH)
        return _Opened(image, said)
    exif, iptc = (image.get(name) if image.get_typeof(name) else b'' for name in ('exif-data', 'iptc-data'))
    return _Opened(image, TiffMetadata(exif, iptc_of_photoshop(iptc)))


def _open_tiff(data: bytes, max_pixels: int, page: int | None) -> _Opened:
    said, layouts = tiff_metadata(data), layouts_of(data)
    if raw := said.raw or next(('raw photo' for layout in layouts if layout.photometric in OF_SENSORS), ''):
        raise ImageReadError(f'it is a {raw}, which other programs develop to a TIFF')
    pillow = any(layout.needs_pillow for layout in layouts)  # libvips reads the directories of all pages

    def opened(number: int) -> _Opened:
        layout = layouts[number] if number < len(layouts) else None
        if layout is not None:
            layout.check(len(data))
            if layout.needs_tifffile(pillow) or (pillow and data.startswith(BIG_ENDIAN_BIGTIFF)):
                return _Opened(_by_tifffile(data, max_pixels, number, layout), said, number != 0, layout)
        image = None if pillow else open_by_vips(data, max_pixels, page=number)
        image = _by_pillow(data, max_pixels, number) if image is None else image
        return _Opened(image, said, number != 0, layout)

    first = opened(0)
    pages = _pages(first.image, data)
    if page is None:
        others = [(layout.pixels, partial(opened, number)) for number, layout in enumerate(layouts[:pages])][1:]
        return _picture(first, others, data, max_pixels)
    if page >= pages:
        raise ImageReadError(f'it has no page {page + 1}, but {pages}')
    return opened(page)._replace(other=False) if page else first


def _by_tifffile(data: bytes, max_pixels: int, page: int, layout: Layout) -> 'pyvips.Image':
    """A page of a TIFF as tifffile decodes it, 8 or 16 bits."""
    vips = libvips()
    values, said = read_by_tifffile(data, page, layout, max_pixels)
    image = _of_values(values, layout, layout.interpretation)
    if layout.is_associated and not layout.is_lab:
        image = image.unpremultiply().rint().cast(image.format).copy(interpretation=image.interpretation)
    if said['dpi'] and _is_possible(said['dpi']):
        across, down = said['dpi']
        image = image.copy(xres=across / _MM_PER_INCH, yres=down / _MM_PER_INCH)
        image.set_type(vips.GValue.gstr_type, 'resolution-unit', 'in')
    if said['profile']:
        image.set_type(vips.GValue.blob_type, 'icc-profile-data', said['profile'])
    image.set_type(vips.GValue.gint_type, 'orientation', said['orientation'])
    image.set_type(vips.GValue.gint_type, 'n-pages', said['pages'])
    image.set_type(vips.GValue.gstr_type, 'vips-loader', 'tiffload_buffer')
    return image


def _of_values(values: np.ndarray, layout: Layout | None, interpretation: str) -> 'pyvips.Image':
    """Stored values (H, W, C) as 8 or 16 bits of grey, RGB or, where an interpretation says so, CMYK."""
    vips = libvips()
    if layout and layout.is_lab:
        lab = vips.Image.new_from_array(lab_of(values, layout), interpretation='lab')
        return lab.colourspace('srgb' if values.dtype.itemsize == 1 else 'rgb16')
    scaled = to_depth(values, layout)
    if layout and layout.is_white_zero:
        scaled = _turned(scaled)
    names = ('srgb', 'rgb16') if values.shape[2] > 2 else ('b-w', 'grey16')
    kind = interpretation if interpretation == 'cmyk' else names[scaled.dtype == np.uint16]
    return vips.Image.new_from_array(scaled, interpretation=kind)


def _turned(values: np.ndarray) -> np.ndarray:
    """Unsigned integers (H, W, C) with black for white in the first band, beside which there may be alpha."""
    return values ^ np.array([np.iinfo(values.dtype).max] + [0] * (values.shape[2] - 1), values.dtype)


def _wide_pixmap(data: bytes, max_pixels: int) -> 'pyvips.Image | None':
    """A binary PPM of more than 8 bits, of which Pillow keeps 8; None for other files."""
    found = _PPM.match(data)
    width, height, white = map(int, found.groups()) if found else (0, 0, 0)
    if found is None or not width * height or white not in range(256, 65536):
        return None
    check_pixels(width, height, max_pixels)
    lacking = found.end() + 6 * width * height - len(data)
    if lacking > 0:
        raise ImageReadError(f'it is cut short: {lacking} bytes are missing')
    values = np.frombuffer(data, '>u2', 3 * width * height, found.end()).reshape(height, width, 3)
    image = libvips().Image.new_from_array(_stretched(values, white), interpretation='rgb16')
    image.set_type(libvips().GValue.gstr_type, 'vips-loader', 'ppmload_buffer')
    return image


def _bits_of_colours(data: bytes) -> int:
    """How many bits the values of a JPEG 2000 or SGI file have, of whose colours Pillow keeps 8; 0 for other files."""
    if data.startswith(_SGI):
        return 8 * data[3]
    start = data.find(_J2K, 0, _HEAD_BYTES) if data.startswith((_J2K, _JP2)) else -1
    return (int.from_bytes(data[start + 42 : start + 43], 'big') & 127) + 1 if start >= 0 else 0


def _stretched(values: np.ndarray, white: int) -> np.ndarray:
    """Values (H, W, C) of 0 to `white` as uint16."""
    if white == 65535:
        return values.astype(np.uint16)
    return (np.arange(65536) * (65535 / white)).clip(0, 65535).round().astype(np.uint16)[values]


def _by_pillow(data: bytes, max_pixels: int, page: int = 0) -> 'pyvips.Image':
    """A page of a file as Pillow decodes it, 8 or 16 bits."""
    vips = libvips()
    with open_by_pillow(io.BytesIO(data), max_pixels) as opened:
        pages = getattr(opened, 'n_frames', 1)
        if page:  # a PSD, whose layers Pillow counts from 1, has no 0
            opened.seek(page)
        png = png_of(opened)
    image = vips.Image.new_from_buffer(png, '', access='sequential', fail_on='error').copy()
    image.set_type(vips.GValue.gint_type, 'n-pages', pages)
    return image


def _picture(
    first: _Opened, others: Sequence[tuple[int, Callable[[], _Opened]]], data: bytes, max_pixels: int
) -> _Opened:
    """The first page or sub-image of a TIFF that is no smaller copy of another one, by less than half its pixels.

    Args:
        first: the first page.
        others: the numbers of pixels of the other pages, and what opens them, which may decode them.
        data: the file.
        max_pixels: how many pixels a sub-image may have.
    """
    found: list[tuple[int, Callable[[], _Opened]]] = [(_pixels(first.image), lambda: first), *others]
    for number in range(min(first.image.get('n-subifds') if first.image.get_typeof('n-subifds') else 0, MOST_PAGES)):
        with suppress(libvips().Error, ImageReadError):
            if (image := open_by_vips(data, max_pixels, subifd=number)) is not None:
                found.append((_pixels(image), partial(_Opened, image, first.said, True)))
    while True:
        most = max(pixels for pixels, _ in found)
        chosen = next(each for each in found if 2 * each[0] >= most)
        if chosen is found[0]:
            return first
        try:
            return chosen[1]()
        except (libvips().Error, ImageReadError):  # what is damaged is not the picture
            found.remove(chosen)


def _pixels(image: 'pyvips.Image') -> int:
    return image.width * image.height


def _pages(image: 'pyvips.Image', data: bytes) -> int:
    """How many pages or frames a file has; libvips passes over those of APNG, animated AVIF and MPO."""
    loader = image.get('vips-loader')
    if loader.startswith(_LOADERS_WITH_PAGES) or data[:4] in _TIFF_HEADS:
        return image.get('n-pages') if image.get_typeof('n-pages') else 1
    if _MPO in data[:_HEAD_BYTES] or data[4:12] == _AVIF_FRAMES:
        return _pages_by_pillow(data)
    at = data.find(b'acTL', 0, data.find(b'IDAT')) if data.startswith(b'\x89PNG') else -1
    return max(1, int.from_bytes(data[at + 4 : at + 8], 'big')) if at > 0 else 1


def _pages_by_pillow(data: bytes) -> int:
    """How many pictures Pillow finds in a file; what has less than half the pixels of the first is a preview."""
    from PIL import ImageSequence

    with suppress(ImageReadError), open_by_pillow(io.BytesIO(data), sys.maxsize) as opened:
        sizes = [opened.width * opened.height for _ in ImageSequence.Iterator(opened)]
        return sum(2 * size >= sizes[0] for size in sizes)
    return 1


def _in_depth(image: 'pyvips.Image', layout: Layout | None) -> 'pyvips.Image':
    """An image of other numbers than 8 or 16 bits, or of ICC's CIELAB, with 8 or 16 bits of grey or RGB."""
    if image.interpretation in ('lab', 'labs'):
        return image.colourspace('rgb16')
    values = image.numpy().reshape(image.height, image.width, -1)
    if layout and layout.is_white_zero and values.dtype == np.uint32:  # libvips has turned these alone
        values = _turned(values)
    made = _of_values(values, layout, image.interpretation)
    made = made.copy(xres=image.xres, yres=image.yres)
    for name in set(_CARRIED) & set(image.get_fields()):
        made.set_type(image.get_typeof(name), name, image.get(name))
    return made


def png_of(image: 'Image.Image') -> bytes:
    """The bytes of an uncompressed PNG of one of Pillow's images, with its resolution, profile and EXIF.

    Raises:
        ImageReadError: its pixels are none that a photo has, see `in_photo_mode`.
    """
    if isinstance(packet := image.info.get('xmp'), str):  # as some TIFFs have it, where Pillow expects bytes
        image.info['xmp'] = packet.encode('latin-1', 'replace')
    image.load()  # which turns a TIFF upright
    out, known = io.BytesIO(), in_photo_mode(image, value_bits(image))
    profile = None if image.mode == 'LAB' else image.info.get('icc_profile')
    dpi = image.info.get('dpi')
    if dpi and not _is_possible(dpi):
        dpi = None
    exif = image.getexif()
    exif.pop(XMP_TAG, None)
    known.save(out, 'PNG', compress_level=0, dpi=dpi, exif=exif, icc_profile=profile)
    return out.getvalue()


def value_bits(image: 'Image.Image') -> int:
    """How many bits the values of one of Pillow's images have in its file, where its mode does not say it."""
    return getattr(image, 'tag_v2', {}).get(_BITS_TAG, (16,))[0]


def in_photo_mode(image: 'Image.Image', bits: int = 16) -> 'Image.Image':
    """One of Pillow's images in a mode that a PNG has; of 16 bits if it has more than 8, which `convert` cuts off.

    Args:
        image: of any mode.
        bits: of its values, see `value_bits`.

    Raises:
        ImageReadError: its pixels are floating-point numbers outside of 0..1, or integers outside of 0..65535.
    """
    from PIL import Image

    if image.mode == 'I;16' and bits == _TWELVE:
        return Image.fromarray((np.asarray(image) * (65535 / (2**_TWELVE - 1))).round().astype(np.uint16))
    if image.mode in _MODES_WITH_ALPHA:
        return image.convert(_MODES_WITH_ALPHA[image.mode])
    if image.mode in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'):
        return image
    values = np.asarray(image)
    if image.mode == 'F':
        return Image.fromarray(to_depth(values))
    if not image.mode.startswith('I'):
        return image.convert('RGB')
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ImageReadError(f'its pixels are {values.min()}..{values.max()}, not 8-bit or 16-bit integers')
    return Image.fromarray(values.astype(np.uint16))


def _upright(image: 'pyvips.Image') -> 'pyvips.Image':
    """Applies the orientation tag, which needs the rows in another order than they come."""
    if image.get_typeof('orientation') and image.get('orientation') != 1:
        return image.copy_memory().autorot()
    return image


def _read_dpi(image: 'pyvips.Image', data: bytes) -> tuple[float, float]:
    """(horizontal, vertical); of a resolution without a unit, which libvips takes for pixels per mm, the ratio is kept.

    Of a file that does not say libvips makes one pixel per mm, or 72 per inch.
    """
    dpi = image.xres * _MM_PER_INCH, image.yres * _MM_PER_INCH
    if all(round(value, 3) in (_MM_PER_INCH, _DEFAULT_DPI) for value in dpi):
        ratio = _jfif_density(data)
    elif _has_unit(image, data) and _is_possible(dpi):
        return dpi
    else:
        ratio = dpi
    least = min(ratio)
    across, down = (_DEFAULT_DPI * (value / least if 0 < least < math.inf else 1.0) for value in ratio)
    return (across, down) if _is_possible((across, down)) else (_DEFAULT_DPI, _DEFAULT_DPI)


def _is_possible(dpi: tuple[float, float]) -> bool:
    """Whether no damage made these numbers, which libvips would print its doubts about."""
    return all(0 < value < _LARGEST_DPI for value in dpi)


def _has_unit(image: 'pyvips.Image', data: bytes) -> bool:
    loader = image.get('vips-loader')
    if loader.startswith('png'):
        at = data.find(b'pHYs', 0, data.find(b'IDAT'))
        return at < 0 or data[at + 12] == 1
    return not loader.startswith('tiff') or bool(image.get_typeof('resolution-unit'))


def _jfif_density(data: bytes) -> tuple[float, float]:
    """The densities of a JPEG that has no unit for them, else two of 1."""
    if data[6:11] != b'JFIF\0' or data[13] != 0:
        return 1, 1
    return int.from_bytes(data[14:16], 'big'), int.from_bytes(data[16:18], 'big')


def _to_srgb(image: 'pyvips.Image') -> tuple['pyvips.Image', bytes | None, bool]:
    """Brings pixels to grey or RGB under sRGB; also tells the profile to write and whether to convert to it then."""
    wide = image.format == 'ushort'
    profile = of_own_length(image.get('icc-profile-data')) if image.get_typeof('icc-profile-data') else None
    if image.interpretation in ('srgb', 'rgb16', 'rgb') and profile:
        state = _kind_of_profile(profile) if profile[16:20] == b'RGB ' else 'unusable'
        if state == 'srgb':
            return image, profile, False
        if state == 'unusable':
            return image, None, False
        image = image.icc_transform('srgb', embedded=True, depth=16 if wide else 8)
        return image, (profile if state == 'convert' else image.get('icc-profile-data')), state == 'convert'
    if image.interpretation in ('b-w', 'grey16') and profile:
        table = grey_table(profile, np.dtype(np.uint16 if wide else np.uint8))
        if table is not None:
            grey = image[0].maplut(libvips().Image.new_from_array(table[None]))
            image = (grey.bandjoin(image[1]) if image.bands == 2 else grey).copy(interpretation=image.interpretation)
            return image, libvips().Image.profile_load('srgb'), False
        try:
            image = image.icc_transform('srgb', embedded=True, depth=16 if wide else 8)
        except libvips().Error:  # as of a damaged profile of colours
            return image, None, False
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
    vips = libvips()
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
    vips = libvips()
    depth = 16 if image.format == 'ushort' else 8
    lab = image.icc_import(input_profile='srgb').copy()
    lab.set_type(vips.GValue.blob_type, 'icc-profile-data', profile)
    return lab.icc_export(depth=depth)


def _upright_blobs(metadata: Metadata) -> dict[str, bytes]:
    """The metadata blocks to embed; XMP repeats the orientation, which the pixels have already."""
    blobs = dict(metadata.blobs)
    if 'xmp-data' in blobs:
        blobs['xmp-data'] = re.sub(rb'(tiff:Orientation(?:=["\']|>))\d', rb'\g<1>1', blobs['xmp-data'])
    if metadata.profile:
        blobs['icc-profile-data'] = metadata.profile
    return blobs
