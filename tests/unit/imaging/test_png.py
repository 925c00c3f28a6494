"""Metadata behind a PNG's pixels, where ExifTool puts XMP: the photo is the same as with it before them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from insta_colorization.imaging.photo import decode_photo
from insta_colorization.imaging.png import with_early_metadata

pytest.importorskip('pyvips', reason='pip install "pyvips[binary]"')


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>L', len(content)) + kind + content + struct.pack('>L', zlib.crc32(kind + content))


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return chunk(b'eXIf', exif.tobytes().removeprefix(b'Exif\0\0'))


EXIF = turned(6)
XMP = chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
TEXT = chunk(b'tEXt', b'Title\0Harbour')


@pytest.fixture(scope='module')
def parts() -> tuple[bytes, bytes, bytes]:
    """A PNG of width 6 and height 4: its header, its pixels, its end."""
    out = io.BytesIO()
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save(out, 'PNG')
    data = out.getvalue()
    first, end = data.index(b'IDAT') - 4, data.index(b'IEND') - 4
    return data[:first], data[first:end], data[end:]


@pytest.mark.parametrize('late', [(EXIF,), (XMP,), (EXIF, XMP), (TEXT, XMP, TEXT, EXIF, TEXT)], ids=len)
def test_counts_as_before_the_pixels(parts, late):
    head, pixels, end = parts

    found, expected = (
        decode_photo(data, 'a.png')
        for data in (head + pixels + b''.join(late) + end, head + b''.join(late) + pixels + end)
    )

    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.metadata.blobs == expected.metadata.blobs != {}
    assert found.size == ((6, 4) if EXIF in late else (4, 6))


def test_of_two_the_first_counts(parts):
    head, pixels, end = parts

    for data in (head + EXIF + pixels + turned(1) + end, head + pixels + EXIF + turned(1) + end):
        assert decode_photo(data, 'a.png').size == (6, 4)


def test_other_files_stay_as_they_are(parts):
    head, pixels, end = parts
    whole = head + EXIF + XMP + TEXT + pixels + TEXT + end

    for data in (whole, (head + pixels + XMP)[:-1], whole[:20], b'', b'II*\0eXIf'):
        assert with_early_metadata(data) == data
