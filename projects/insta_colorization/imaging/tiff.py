"""What a directory of a TIFF says about its pixels, and how numbers of other kinds than 8 and 16 bits become such."""

import io
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .decoders import ImageReadError, check_pixels
from .exif import opened_directory

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

logger = logging.getLogger(__name__)

# Pages of a file that are looked at.
MOST_PAGES = 64
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _BANDS, _PLANES = 256, 257, 258, 259, 262, 277, 284
_TILE_WIDTH, _EXTRA, _FORMAT = 322, 338, 339
_APART = 2
_ASSOCIATED = 1
# Where tiles begin and how long they are.
_TILES = (324, 325)
_LOWEST, _HIGHEST = 340, 341  # SMinSampleValue, SMaxSampleValue; 280 and 281 are statistics, by TIFF 6.0
_OLD_JPEG, _JPEG, _LZMA, _ZSTD = 6, 7, 34925, 50000
_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _CIELAB, _ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9
_ORIENTATION, _UNIT, _PROFILE = 274, 296, 34675
_OWN_BANDS = {_RGB: 3, _CMYK: 4, _YCBCR: 3, _CIELAB: 3, _ICCLAB: 3}
_FLOAT, _COMPLEX = 3, (5, 6)
# Values that are brought to 16 bits at a time: what they become in between takes four times their memory.
_AT_ONCE = 2**22
_HOW = 'convert it, as with `magick IN -depth 16 OUT.tif`'


class Layout(NamedTuple):
    """How the pixels of a page are stored, in the words of TIFF 6.0; sizes are for each band.

    Attributes:
        pixels: how many there are.
        bits: of a value.
        bands: how many there are.
        kind: 1 unsigned, 2 signed, 3 floating point, 5 and 6 complex.
        compression: of its strips or tiles.
        photometric: what the values mean.
        is_tiled: whether they are tiles.
        is_apart: whether each band has strips or tiles of its own.
        is_associated: whether colours are multiplied by alpha.
        is_odd: whether it has an orientation or a unit of resolution that there is not, which libvips refuses.
        tiles_end: where in the file its last tile ends; 0 if it has none.
        lowest: the value that is black; None where the file does not say.
        highest: the value that is white; None where the file does not say.
    """

    pixels: int
    bits: int
    bands: int
    kind: int
    compression: int
    photometric: int
    is_tiled: bool
    is_apart: bool
    is_associated: bool
    is_odd: bool
    tiles_end: int
    lowest: float | None
    highest: float | None

    @property
    def is_white_zero(self) -> bool:
        """Whether 0 is white."""
        return self.photometric == _WHITE_IS_ZERO

    @property
    def is_lab(self) -> bool:
        """Whether the values are CIELAB; ICC's has a and b above an offset, the other one signed."""
        return self.photometric in (_CIELAB, _ICCLAB)

    @property
    def is_icclab(self) -> bool:
        """Whether the values are CIELAB with a and b above an offset."""
        return self.photometric == _ICCLAB

    @property
    def interpretation(self) -> str:
        """What libvips calls values of three bands and more."""
        return 'cmyk' if self.photometric == _CMYK else 'multiband'

    @property
    def needs_pillow(self) -> bool:
        """Whether libvips reads such pages not at all or wrong, where Pillow reads them."""
        return (
            self.compression in (_OLD_JPEG, _LZMA, _ZSTD)
            or (self.is_apart and self.is_tiled)
            or (self.photometric == _YCBCR and self.compression != _JPEG)
            or (self.photometric == _CIELAB and self.bits == 8)
            or self.bits == 12
            or self.is_odd
        )

    def needs_tifffile(self, pillow: bool) -> bool:
        """Whether tifffile alone reads it right.

        Args:
            pillow: whether Pillow would read it otherwise, which has 8 bits of colours and few kinds of numbers.
        """
        if not pillow:
            is_half = self.kind == _FLOAT and self.bits == 16
            odd_planes = self.is_apart and (is_half or self.photometric not in (_RGB, _CMYK))
            odd_alpha = self.is_associated and (self.kind != 1 or self.bits > 16)
            return self.bits == 64 or odd_planes or odd_alpha or (is_half and self.is_lab)
        is_grey = self.bands == 1 and not self.is_white_zero
        has_alpha = self.bands > _OWN_BANDS.get(self.photometric, 1)
        odd_alpha = has_alpha and (self.is_associated or self.photometric not in (_GREY, _RGB, _PALETTE))
        odd_planes = self.is_apart and self.photometric != _RGB
        return self.kind not in (1, 4) or self.bits > (16 if is_grey else 8) or odd_alpha or odd_planes

    def check(self, length: int) -> None:
        """Raises `ImageReadError` with the way out for a page that would come out wrong, or not at all.

        Args:
            length: of the file, in bytes; libvips makes tiles black that it lacks.
        """
        if self.tiles_end > length:
            raise ImageReadError(f'it is cut short: its tiles end at byte {self.tiles_end}, but it has {length}')
        if self.kind in _COMPLEX:
            raise ImageReadError('its pixels are complex numbers, of which none is a lightness')
        if self.bits not in (1, 2, 4, 8, 12, 16, 32, 64):
            raise ImageReadError(f'its values have {self.bits} bits, not 8 or 16; {_HOW}')
        if self.is_lab and self.kind != _FLOAT and self.bits > 16:
            raise ImageReadError(f'its values of CIELAB have {self.bits} bits, not 8 or 16; {_HOW}')
        if self.bits < 8 and self.bands > 1:
            raise ImageReadError(f'its values have {self.bits} bits in {self.bands} bands, not 8 or 16; {_HOW}')


def layouts_of(tiff: bytes) -> list[Layout]:
    """The layouts of the first pages of a TIFF file, up to one that is damaged."""
    layouts: list[Layout] = []
    try:
        directory, file = opened_directory(tiff), io.BytesIO(tiff)
        while directory.next and len(layouts) < MOST_PAGES:
            file.seek(directory.next)
            directory.load(file)
            layouts.append(_layout(directory))
    except Exception as error:  # Pillow's reader stumbles over damaged tags in many ways
        logger.debug('page %d is not understood: %s', len(layouts) + 1, error)
    return layouts


def _layout(directory: 'ImageFileDirectory_v2') -> Layout:
    """The layout that a directory of Pillow's tells; raises `KeyError` for one of no image."""

    def first(tag: int, default: Any) -> Any:
        value = directory.get(tag, default)
        return value[0] if isinstance(value, tuple) else value

    bands = first(_BANDS, 1)
    return Layout(
        pixels=int(directory[_WIDTH]) * int(directory[_HEIGHT]),  # a text times a number would be a long text
        bits=first(_BITS, 1),
        bands=bands,
        kind=first(_FORMAT, 1),
        compression=first(_COMPRESSION, 1),
        photometric=first(_PHOTOMETRIC, 1),
        is_tiled=_TILE_WIDTH in directory,
        is_apart=bands > 1 and first(_PLANES, 1) == _APART,
        is_associated=first(_EXTRA, 0) == _ASSOCIATED,
        is_odd=first(_ORIENTATION, 1) not in range(1, 9) or first(_UNIT, 2) not in (1, 2, 3),
        tiles_end=max(map(sum, zip(*(directory.get(tag, ()) for tag in _TILES), strict=False)), default=0),
        lowest=first(_LOWEST, None),
        highest=first(_HIGHEST, None),
    )


def read_by_tifffile(tiff: bytes, page: int, layout: Layout, max_pixels: int) -> tuple[np.ndarray, dict[str, Any]]:
    """A page as tifffile decodes it.

    Args:
        tiff: the file.
        page: which one, from 0.
        layout: of the page.
        max_pixels: how many pixels it may have.

    Returns:
        (H, W, C) values as they are stored, and `pages`, `profile` or None, `orientation` (1 unless the file has a
        valid one) and `dpi` or None.

    Raises:
        ImageReadError: tifffile is not installed, or cannot read it either; the message says what to do.
    """
    stored = f'its {layout.bits} bits are stored in a way that is not read'
    try:
        import tifffile
    except ImportError as error:
        raise ImageReadError(f'{stored} without tifffile: pip install tifffile, or {_HOW}') from error
    logging.getLogger('tifffile').setLevel(logging.CRITICAL)  # what matters of its warnings is raised as well
    if layout.photometric not in (_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _CMYK, _CIELAB, _ICCLAB):
        raise ImageReadError(f'{stored}; {_HOW}')
    try:
        with tifffile.TiffFile(io.BytesIO(tiff)) as file:
            found = file.pages[page].aspage()
            check_pixels(found.imagewidth, found.imagelength, max_pixels)
            values, tags = found.asarray(), found.tags
            unit = {2: 1.0, 3: 2.54}.get(tags.valueof(_UNIT))
            profile, orientation = tags.valueof(_PROFILE), tags.valueof(_ORIENTATION)
            said = {
                'pages': len(file.pages),
                'profile': profile if isinstance(profile, bytes) else None,
                'orientation': int(orientation) if orientation in range(1, 9) else 1,
                'dpi': None if unit is None else tuple(unit * value for value in found.get_resolution()),
            }
    except ImageReadError:
        raise
    except Exception as error:  # it has as many errors as there are damages
        raise ImageReadError(f'{stored} ({error}); {_HOW}') from error
    if values.ndim == 2:
        values = values[..., None]
    elif found.axes.startswith('S'):
        values = np.moveaxis(values, 0, -1)
    if values.shape[:2] != (found.imagelength, found.imagewidth) or values.ndim != 3:
        raise ImageReadError(f'its pixels have the shape {values.shape}, not {found.imagelength} x {found.imagewidth}')
    return values, said


def to_depth(values: np.ndarray, layout: Layout | None = None) -> np.ndarray:
    """Numbers of any kind as 8 or 16 bits, from black to white.

    They are scaled by the range that the file declares, and what is no number is black then. Without one floating-point
    numbers are taken for 0..1, signed integers for 0 to the largest there is, or for all there are where they use the
    lower half of those below 0. Of integers of 32 and 64 bits but 8 or 16 may be used.

    Args:
        values: (H, W, C) of any real dtype.
        layout: of the page that they are from.

    Returns:
        (H, W, C) uint8 or uint16.

    Raises:
        ImageReadError: they lie outside, or are too few of 32 bits to tell; the message says what to do.
    """
    low, high = (layout.lowest, layout.highest) if layout else (None, None)
    if low is None or high is None or not low < high:
        low, high = _default_range(values)
    top = 255 if values.dtype.kind in 'iu' and high - low <= 255 else 65535
    out = np.empty(values.shape, np.uint8 if top == 255 else np.uint16)
    factor = top / (float(high) - float(low))
    count = max(1, values.size // _AT_ONCE)
    for rows, given in zip(np.array_split(out, count), np.array_split(values, count), strict=True):
        rows[...] = np.nan_to_num((given.astype(np.float64) - low) * factor).clip(0, top).round()
    return out


def lab_of(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Stored values (H, W, C) of CIELAB as L in 0..100, a and b, (H, W, 3) float32; what follows them is left out."""
    values = values[..., :3]
    if values.dtype.kind == 'f':
        return values.astype(np.float32)
    size = values.dtype.itemsize
    unsigned, signed, unit = values.view(f'u{size}'), values.view(f'i{size}'), 1 / 256 ** (size - 1)
    if layout.is_icclab:
        return (unsigned * (100 / 255 * unit, unit, unit) - (0, 128, 128)).astype(np.float32)
    return np.dstack([unsigned[..., :1] * (100 / (256**size - 1)), signed[..., 1:] * unit]).astype(np.float32)


def _default_range(values: np.ndarray) -> tuple[float, float]:
    least, most = (float(end(values)) if values.size else 0.0 for end in (np.min, np.max))
    if values.dtype.kind == 'f':
        if not (least >= 0 and most <= 1):
            raise _refusal('float', least, most, 'only 0..1 is read, or what SMinSampleValue and SMaxSampleValue say')
        return 0, 1
    limit = np.iinfo(values.dtype).max
    name = f'{values.dtype.itemsize * 8}-bit integers' if values.dtype.itemsize >= 4 else 'signed integers'
    if least < 0:
        if least > -limit / 2:
            raise _refusal(name, least, most, 'what is black is not declared (SMinSampleValue, SMaxSampleValue)')
        return -limit - 1, limit
    if values.dtype.itemsize < 4:  # unsigned ones are here as they are
        return 0, limit
    if most <= 65535:
        return 0, 255 if most <= 255 else 65535
    if most < limit / 256:
        raise _refusal(name, least, most, 'what is white is not declared (SMaxSampleValue)')
    return 0, limit


def _refusal(name: str, least: float, most: float, why: str) -> ImageReadError:
    return ImageReadError(
        f'its pixels are {name}, not 8-bit or 16-bit integers, in {least:g}..{most:g}, and {why}; scale them to 16 bits'
    )
