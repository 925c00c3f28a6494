"""EXIF in memory: what of it describes the photo, and how it gets into a TIFF file, which libvips leaves out."""

import logging
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

# Tags of the first TIFF directory that describe the photo. The others describe how its pixels lie in that very file.
_DESCRIPTIVE_TAGS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, *range(40091, 40096), 33432)
_EXIF_DIRECTORIES = (0x8769, 0x8825)


def descriptive_exif(block: bytes) -> 'Image.Exif':
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


def with_exif(tiff: bytes, block: bytes) -> bytes:
    """Adds EXIF to a little-endian TIFF file in memory: appends its directories, then a merged first directory."""
    start = len(tiff) + len(tiff) % 2
    directories = descriptive_exif(block).tobytes(start).removeprefix(b'Exif\0\0')[8:]
    tiff = tiff.ljust(start, b'\0') + directories
    entries = {entry[:2]: entry for at in (start, struct.unpack_from('<L', tiff, 4)[0]) for entry in _entries(tiff, at)}
    merged = b''.join(sorted(entries.values(), key=lambda entry: struct.unpack_from('<H', entry)))
    head = tiff[:4] + struct.pack('<L', len(tiff))
    return head + tiff[8:] + struct.pack('<H', len(entries)) + merged + bytes(4)


def _entries(tiff: bytes, offset: int) -> list[bytes]:
    """The 12-byte entries of the TIFF directory at an offset."""
    (count,) = struct.unpack_from('<H', tiff, offset)
    return [tiff[at : at + 12] for at in range(offset + 2, offset + 2 + 12 * count, 12)]
