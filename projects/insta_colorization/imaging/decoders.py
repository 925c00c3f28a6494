"""Opens image files by libvips and Pillow, set up for files from outside: a list of formats and a limit of pixels.

No file starts a program, whatever it is called: Pillow by itself would hand PostScript to Ghostscript.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from ctypes import CDLL
from functools import cache
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, Any, BinaryIO, ParamSpec, TypeVar

from insta_colorization.fileio.files import open_regular
from insta_colorization.utils.options import InputOptions

if TYPE_CHECKING:
    import pyvips
    from PIL import Image

P = ParamSpec('P')
T = TypeVar('T')

MAX_PIXELS = InputOptions.max_pixels
_DAMAGED = 'its content is damaged or cut short'
# What libvips adds, or not, as its threads happen to run; it says no more than that.
_NO_REASON = ': load error'

_VIPS_LOADERS = tuple(
    f'VipsForeignLoad{name}Buffer' for name in ('Jpeg', 'Png', 'Webp', 'Tiff', 'Nsgif', 'Heif', 'Jp2k', 'Jxl')
)
_PILLOW_FORMATS = (
    *('AVIF', 'BMP', 'DDS', 'DIB', 'GIF', 'ICO', 'JPEG', 'JPEG2000', 'MSP', 'PCX', 'PNG', 'PPM', 'PSD'),
    *('QOI', 'SGI', 'SUN', 'TGA', 'TIFF', 'WEBP'),
)

_UNKNOWN = 'not an image in a known format'
# What files begin with that are no photos yet, and what makes some of them.
_WAYS_OUT = {
    rb'%PDF': 'a PDF; `pdftoppm -png IN OUT` makes a picture of each page',
    rb'\s*<(svg|(\?xml|!--|!DOCTYPE svg).*<svg)': 'an SVG; `rsvg-convert IN -o OUT.png` draws it',
    rb'%!PS': 'PostScript; `gs -sDEVICE=png16m -o OUT-%d.png IN` draws it',
    rb'.{4}ftyp(.{8}.{0,56})?hei[cmsx]': 'HEIC; `heif-convert IN OUT.png` converts it',
    rb'.{4}ftypcrx |FUJIFILMCCD-RAW|IIRO|IIU\0': 'a raw photo, which other programs develop to a TIFF',
    rb'.{4}ftyp(?!avi|mi[af]|msf)|\x1aE\xdf\xa3|RIFF.{4}AVI ': 'a film; `ffmpeg -i IN OUT-%06d.png` makes its frames',
    rb'\xff\n|\0\0\0\x0cJXL ': 'JPEG XL; `djxl IN OUT.png` converts it',
    rb'SDPX|XPDS|v/1\x01|#\?RA': 'DPX, OpenEXR or Radiance; `magick IN -depth 16 OUT.tif` converts it',
}

# libvips has one text of errors for all threads: whoever wants his own waits until nobody else is inside.
_PLACES = 64
_places, _alone = Semaphore(_PLACES), Lock()


class ImageReadError(ValueError):
    """A file could not be read as a photograph; the message names it and the reason."""


@cache
def libvips() -> Any:
    """The library, set up for files from outside.

    Raises:
        ImportError: it is not installed; the message has the command.
    """
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


@cache
def _silence_pillow() -> None:
    """Lets Pillow and its libtiff print nothing by themselves: what they find wrong is raised as well."""
    from PIL import Image

    logging.getLogger('PIL').setLevel(logging.CRITICAL)
    library = CDLL(Image.core.__file__)  # what it is linked to is looked up through it, wherever that lies
    for kind in ('Warning', 'Error'):
        with suppress(AttributeError):  # built without libtiff
            getattr(library, f'TIFFSet{kind}Handler')(None)


def with_own_error(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls what uses libvips, in any thread; if that fails, again while no other thread does.

    So what libvips raises has this call's reason, and a photo never fails for another one.
    """
    vips = libvips()
    try:
        with _places:
            return function(*args, **kwargs)
    except vips.Error:
        with _by_itself():
            vips.vips_lib.vips_error_clear()
            return function(*args, **kwargs)


@contextmanager
def _by_itself() -> Iterator[None]:
    with _alone:
        for _ in range(_PLACES):
            _places.acquire()
        try:
            yield
        finally:
            _places.release(_PLACES)


def reason_of(error: Exception) -> str:
    """The first line of detail in an error of libvips, whose first line only names the failed call."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.endswith(_NO_REASON)]
    return lines[1] if len(lines) > 1 else _DAMAGED


def way_out(data: bytes) -> str:
    """What a file that cannot be read is instead of a photo, and what makes one of it; '' where that is not known."""
    found = (words for head, words in _WAYS_OUT.items() if re.match(head, data[:4096], re.DOTALL))
    return next((f'{_UNKNOWN}, but {words}' for words in found), '')


def open_by_vips(data: bytes, max_pixels: int, **options: Any) -> 'pyvips.Image | None':
    """Decodes a file's header by libvips; None for a format that it does not read, or not for files from outside.

    Args:
        data: the file's bytes.
        max_pixels: how many pixels it may have.
        options: of libvips' loader.

    Raises:
        ImageReadError: it has more pixels.
        pyvips.Error: the header is damaged.
    """
    vips = libvips()
    loader = vips.vips_lib.vips_foreign_find_load_buffer(data, len(data))
    if loader == vips.ffi.NULL or vips.ffi.string(loader).decode() not in _VIPS_LOADERS:
        return None
    image = vips.Image.new_from_buffer(data, '', access='sequential', fail_on='error', **options)
    check_pixels(image.width, image.height, max_pixels)
    return image


@contextmanager
def open_by_pillow(file: str | os.PathLike[str] | BinaryIO, max_pixels: int) -> Iterator['Image.Image']:
    """One of Pillow's images, for a `with` block that decodes it.

    Args:
        file: a path, or an open file.
        max_pixels: how many pixels it may have.

    Raises:
        ImageReadError: there is no such file, its format is none of the list, it has more pixels, or decoding fails;
            the message is only the reason.
    """
    from PIL import Image

    _silence_pillow()
    try:
        with (
            open_regular(file) if isinstance(file, str | os.PathLike) else nullcontext(file) as opened,
            Image.open(opened, formats=_PILLOW_FORMATS) as image,
        ):
            check_pixels(*image.size, max_pixels)
            yield image
    except ImageReadError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageReadError(_UNKNOWN) from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageReadError(
            f'it has more than the {most} pixels that Pillow decodes; make it a PNG or TIFF'
        ) from error
    except Exception as error:  # each of its readers has errors of its own for damaged content
        text = _DAMAGED if str(error).startswith('decoder error') else str(error)
        raise ImageReadError(text or type(error).__name__) from error


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raises `ImageReadError` for a photo of more pixels than may be decoded."""
    if width * height > max_pixels:
        raise ImageReadError(f'it has {width} x {height} pixels, more than max_pixels {max_pixels} allows')
