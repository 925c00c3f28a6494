"""EXIF and IPTC in memory: what of it describes the photo, and how it gets into a TIFF, which libvips leaves out."""

import io
import logging
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

logger = logging.getLogger(__name__)

# Tags of the first TIFF directory that describe the photo. The others describe how its pixels lie in that very file.
_EXIF, _GPS, _INTEROP = 0x8769, 0x8825, 0xA005
_DIMENSIONS = 0xA002, 0xA003  # width and height, in the directory of EXIF
_DESCRIPTIVE_TAGS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, *range(40091, 40096), 33432, _EXIF, _GPS)
# By the tag of the directory that they are in; None is the first one.
_INNER_DIRECTORIES = {None: (_EXIF, _GPS), _EXIF: (_INTEROP,)}
XMP_TAG, _IPTC_TAG, _DNG_VERSION_TAG, _SUB_IMAGES, _PHOTOMETRIC = 700, 33723, 50706, 330, 262
# Tags whose bytes some writers call something else, such as integers of 32 bits.
_BYTES_TAGS = (XMP_TAG, _IPTC_TAG)
_READ_TAGS = {*_DESCRIPTIVE_TAGS, *_BYTES_TAGS, _DNG_VERSION_TAG, _SUB_IMAGES, _PHOTOMETRIC}
# What values mean that come from a sensor (TIFF/EP, DNG), and what a CR2 of Canon's has behind its header.
OF_SENSORS, _CR2 = (32803, 34892), b'CR'
# Pillow does not know such files.
BIG_ENDIAN_BIGTIFF = b'MM\0+'
# IPTC lies in a resource of Photoshop's in a JPEG, and bare in a TIFF.
_PHOTOSHOP, _RESOURCE, _IPTC_RESOURCE = b'Photoshop 3.0\0', b'8BIM', 0x0404
_SIZE_RESOURCE, _EXIF_RESOURCE, _XMP_RESOURCE, _PSD_HEADER = 0x03ED, 0x0422, 0x0424, 26


class TiffMetadata(NamedTuple):
    """What a TIFF file says beside its pixels: EXIF of the photo, IPTC, XMP, and the kind of a raw photo."""

    exif: bytes
    iptc: bytes
    xmp: bytes = b''
    raw: str = ''


class _Bytes(str):
    """A text as Pillow reads it from a file, byte by byte, that goes back into one as the same bytes."""

    def encode(self, encoding: str = '', errors: str = '') -> bytes:
        return super().encode('latin-1')


def opened_directory(tiff: bytes, group: int | None = None) -> 'ImageFileDirectory_v2':
    """One of Pillow's directories, of a TIFF of either size and byte order, to be loaded from where its `next` says."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    if tiff[:4] != BIG_ENDIAN_BIGTIFF:
        return ImageFileDirectory_v2(tiff[: 16 if tiff[2:3] == b'+' else 8], group=group)
    directory = ImageFileDirectory_v2(b'MM\0*' + bytes(4), group=group)
    directory._bigtiff, directory.next = True, int.from_bytes(tiff[8:16], 'big')
    return directory


def _tags(tiff: bytes, at: int | None = None, group: int | None = None) -> dict[int, Any]:
    """The tags of a directory of a TIFF that matter, of its first one by None, with EXIF's directories in it."""
    directory, file = opened_directory(tiff, group), io.BytesIO(tiff)
    file.seek(directory.next if at is None else at)
    directory.load(file)
    wanted = [tag for tag in directory if group or tag in _READ_TAGS]  # what is damaged elsewhere does not matter
    found: dict[int, Any] = {tag: directory._tagdata[tag] if tag in _BYTES_TAGS else directory[tag] for tag in wanted}
    tags: dict[int, Any] = {
        tag: value[0] if isinstance(value, tuple) and len(value) == 1 else value for tag, value in found.items()
    }
    return tags | {tag: _tags(tiff, tags[tag], tag) for tag in _INNER_DIRECTORIES.get(group, ()) if tag in tags}


def tiff_metadata(tiff: bytes) -> TiffMetadata:
    """What a whole TIFF file says; what is damaged is left out, which is logged."""
    try:
        tags = _tags(tiff)
        iptc, xmp = (tags.get(tag, b'') for tag in (_IPTC_TAG, XMP_TAG))
        return TiffMetadata(_described(tags), iptc, xmp, _kind_of_raw(tiff, tags))
    except Exception as error:  # Pillow's reader stumbles over damaged tags in many ways
        logger.warning('EXIF data is left out: %s', error)
        return TiffMetadata(b'', b'')


def _kind_of_raw(tiff: bytes, tags: Mapping[int, Any]) -> str:
    if _DNG_VERSION_TAG in tags:
        return 'raw photo (DNG)'
    places = tags.get(_SUB_IMAGES, ())
    inner = (_tags(tiff, place) for place in (places if isinstance(places, tuple) else (places,)))
    of_sensor = any(each.get(_PHOTOMETRIC) in OF_SENSORS for each in (tags, *inner))
    return 'raw photo' if of_sensor or tiff[8:10] == _CR2 else ''


def _described(tags: Mapping[int, Any], start: int = 8, iptc: bytes = b'') -> bytes:
    """The descriptive part of EXIF as a block whose directories begin at `start`, and IPTC in it; b'' for nothing."""
    from PIL import Image

    kept = Image.Exif()
    kept.endian = '<'
    kept.update({tag: _kept(tags[tag]) for tag in _DESCRIPTIVE_TAGS if tag in tags})
    if iptc:
        kept[_IPTC_TAG] = iptc
    return kept.tobytes(start) if kept else b''


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {tag: _kept(inner) for tag, inner in value.items()}
    return _Bytes(value) if isinstance(value, str) else value


def with_metadata(tiff: bytes, block: bytes, iptc: bytes, size: tuple[int, int]) -> bytes:
    """Adds EXIF and IPTC to a little-endian TIFF file in memory: their directories, then a merged first directory.

    That is the end of the file, also where there is nothing to add, so that a file that is cut short has none.

    Args:
        tiff: the file.
        block: EXIF; what it says of the picture's width and height is corrected, as by libvips in other formats.
        iptc: bare IPTC.
        size: (width, height).
    """
    start = len(tiff) + len(tiff) % 2
    try:
        tags = _tags(block.removeprefix(b'Exif\0\0')) if block else {}
        inner = tags.get(_EXIF, {})
        inner.update({tag: value for tag, value in zip(_DIMENSIONS, size, strict=True) if tag in inner})
        added = _described(tags, start, iptc)
    except Exception as error:  # as above
        logger.warning('EXIF data is left out: %s', error)
        added = _described({}, start, iptc)
    directories = [*([start] if added else []), struct.unpack_from('<L', tiff, 4)[0]]
    tiff = tiff.ljust(start, b'\0') + added.removeprefix(b'Exif\0\0')[8:]
    entries = {entry[:2]: entry for at in directories for entry in _entries(tiff, at)}
    merged = b''.join(sorted(entries.values(), key=lambda entry: struct.unpack_from('<H', entry)))
    head = tiff[:4] + struct.pack('<L', len(tiff))
    return head + tiff[8:] + struct.pack('<H', len(entries)) + merged + bytes(4)


def _entries(tiff: bytes, offset: int) -> list[bytes]:
    """The 12-byte entries of the directory at an offset of a little-endian TIFF."""
    (count,) = struct.unpack_from('<H', tiff, offset)
    return [tiff[at : at + 12] for at in range(offset + 2, offset + 2 + 12 * count, 12)]


def iptc_of_photoshop(block: bytes) -> bytes:
    """The IPTC among a JPEG's resources of Photoshop's; b'' where there is none."""
    resources = _resources(block, len(_PHOTOSHOP)) if block.startswith(_PHOTOSHOP) else iter(())
    return next((content for number, content in resources if number == _IPTC_RESOURCE), b'')


def psd_metadata(psd: bytes) -> tuple[TiffMetadata, tuple[float, float]]:
    """What a PSD file says, and its (horizontal, vertical) dots per inch, 0 where it does not say."""
    start = _PSD_HEADER + 4 + int.from_bytes(psd[_PSD_HEADER : _PSD_HEADER + 4], 'big')  # behind a table of colours
    end = start + 4 + int.from_bytes(psd[start : start + 4], 'big')
    found = dict(_resources(psd[:end], start + 4))
    exif, iptc, xmp = (found.get(number, b'') for number in (_EXIF_RESOURCE, _IPTC_RESOURCE, _XMP_RESOURCE))
    across, down = (int.from_bytes(found.get(_SIZE_RESOURCE, b'')[at : at + 4], 'big') / 65536 for at in (0, 8))
    return TiffMetadata(b'Exif\0\0' + exif if exif else b'', iptc, xmp), (across, down)


def _resources(block: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of Photoshop's resources, of which the first begins at an offset."""
    while block[at : at + 4] == _RESOURCE and len(block) >= at + 12:
        (number,) = struct.unpack_from('>H', block, at + 4)
        at += 6 + (block[at + 6] | 1) + 1  # its name, of an even length together with its count
        size = int.from_bytes(block[at : at + 4], 'big')
        yield number, block[at + 4 : at + 4 + size]
        at += 4 + size + size % 2


def photoshop_of_iptc(iptc: bytes) -> bytes:
    """IPTC as a JPEG's resource of Photoshop's."""
    header = struct.pack('>4sHHL', _RESOURCE, _IPTC_RESOURCE, 0, len(iptc))
    return _PHOTOSHOP + header + iptc + bytes(len(iptc) % 2)
