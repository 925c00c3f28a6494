"""EXIF and IPTC in memory: what of it describes the photo, and how it gets into a TIFF, which libvips leaves out."""

import logging
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

# Tags of the first TIFF directory that describe the photo. The others describe how its pixels lie in that very file.
_DESCRIPTIVE_TAGS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, *range(40091, 40096), 33432)
_EXIF_DIRECTORIES = (0x8769, 0x8825)
_IPTC_TAG, _DNG_VERSION_TAG = 33723, 50706
_LONG = 4
# IPTC lies in a resource of Photoshop's in a JPEG, and bare in a TIFF.
_PHOTOSHOP, _RESOURCE, _IPTC_RESOURCE = b'Photoshop 3.0\0', b'8BIM', 0x0404


class TiffMetadata(NamedTuple):
    """What a TIFF file says beside its pixels: EXIF that describes the photo, IPTC, and whether it is a raw photo."""

    exif: bytes
    iptc: bytes
    is_raw: bool


class _Bytes(str):
    """A text as Pillow reads it from a file, byte by byte, that goes back into one as the same bytes."""

    def encode(self, encoding: str = '', errors: str = '') -> bytes:
        return super().encode('latin-1')


def tiff_metadata(tiff: bytes) -> TiffMetadata:
    """What a whole TIFF file says; what is damaged is left out, which is logged."""
    from PIL import Image

    source = Image.Exif()
    try:
        source.load(tiff)
        return TiffMetadata(_described(source), _iptc_of_tiff(tiff), _DNG_VERSION_TAG in source)
    except Exception as error:  # Pillow's reader stumbles over damaged tags in many ways
        logger.warning('EXIF data is left out: %s', error)
        return TiffMetadata(b'', b'', False)


def _described(source: 'Image.Exif', start: int = 8, iptc: bytes = b'') -> bytes:
    """The descriptive part of EXIF as a block whose directories begin at `start`, and IPTC in it; b'' for nothing."""
    from PIL import Image

    kept = Image.Exif()
    kept.endian = '<'
    kept.update({tag: _kept(source[tag]) for tag in _DESCRIPTIVE_TAGS if tag in source})
    for directory in _EXIF_DIRECTORIES:
        if directory in source:
            kept[directory] = {tag: _kept(value) for tag, value in source.get_ifd(directory).items()}
    if iptc:
        kept[_IPTC_TAG] = iptc
    return kept.tobytes(start) if kept else b''


def _iptc_of_tiff(tiff: bytes) -> bytes:
    """The bytes of IPTC as they lie in a TIFF file, which some writers call integers of 32 bits; b'' for none."""
    order = {b'II*\0': '<', b'MM\0*': '>'}.get(tiff[:4])
    if order is None:  # BigTIFF
        return b''
    (offset,) = struct.unpack_from(f'{order}L', tiff, 4)
    for entry in _entries(tiff, offset, order):
        tag, kind, count, start = struct.unpack(f'{order}HHLL', entry)
        if tag == _IPTC_TAG:
            return tiff[start : start + count * (4 if kind == _LONG else 1)]
    return b''


def _kept(value: Any) -> Any:
    return _Bytes(value) if isinstance(value, str) else value


def with_metadata(tiff: bytes, block: bytes, iptc: bytes) -> bytes:
    """Adds EXIF and IPTC to a little-endian TIFF file in memory: their directories, then a merged first directory."""
    from PIL import Image

    start = len(tiff) + len(tiff) % 2
    source = Image.Exif()
    try:
        source.load(block)
        added = _described(source, start, iptc)
    except Exception as error:  # as above
        logger.warning('EXIF data is left out: %s', error)
        added = _described(Image.Exif(), start, iptc)
    if not added:
        return tiff
    tiff = tiff.ljust(start, b'\0') + added.removeprefix(b'Exif\0\0')[8:]
    entries = {entry[:2]: entry for at in (start, struct.unpack_from('<L', tiff, 4)[0]) for entry in _entries(tiff, at)}
    merged = b''.join(sorted(entries.values(), key=lambda entry: struct.unpack_from('<H', entry)))
    head = tiff[:4] + struct.pack('<L', len(tiff))
    return head + tiff[8:] + struct.pack('<H', len(entries)) + merged + bytes(4)


def _entries(tiff: bytes, offset: int, order: str = '<') -> list[bytes]:
    """The 12-byte entries of the TIFF directory at an offset."""
    (count,) = struct.unpack_from(f'{order}H', tiff, offset)
    return [tiff[at : at + 12] for at in range(offset + 2, offset + 2 + 12 * count, 12)]


def iptc_of_photoshop(block: bytes) -> bytes:
    """The IPTC among a JPEG's resources of Photoshop's; b'' where there is none."""
    at = len(_PHOTOSHOP)
    while block.startswith(_PHOTOSHOP) and block[at : at + 4] == _RESOURCE and len(block) >= at + 12:
        (number,) = struct.unpack_from('>H', block, at + 4)
        at += 6 + (block[at + 6] | 1) + 1  # its name, of an even length together with its count
        size = int.from_bytes(block[at : at + 4], 'big')
        content = block[at + 4 : at + 4 + size]
        if number == _IPTC_RESOURCE:
            return content
        at += 4 + size + size % 2
    return b''


def photoshop_of_iptc(iptc: bytes) -> bytes:
    """IPTC as a JPEG's resource of Photoshop's."""
    header = struct.pack('>4sHHL', _RESOURCE, _IPTC_RESOURCE, 0, len(iptc))
    return _PHOTOSHOP + header + iptc + bytes(len(iptc) % 2)
