"""Metadata in PNG files, which may follow the pixels there, where libvips does not look."""

import struct
from collections.abc import Iterator

_START, _PIXELS = b'\x89PNG\r\n\x1a\n', b'IDAT'
# EXIF, and the text that has XMP.
_EXIF, _XMP = b'eXIf', b'iTXtXML:com.adobe.xmp\0'
_FRAME_BYTES = 12


def with_early_metadata(data: bytes) -> bytes:
    """A PNG with EXIF and XMP before its pixels where they follow them; all else, and other files, unchanged."""
    pixels, known = 0, set[bytes]()
    late: list[tuple[int, int]] = []
    for start, end in _chunks(data):
        pixels = pixels or (start if data.startswith(_PIXELS, start + 4) else 0)
        kind = next((kind for kind in (_EXIF, _XMP) if data.startswith(kind, start + 4)), None)
        if kind is None or kind in known:
            continue
        known.add(kind)
        if pixels:
            late.append((start, end))
    if not late:
        return data
    moved = b''.join(data[start:end] for start, end in late)
    kept = zip((pixels, *(end for _, end in late)), (*(start for start, _ in late), len(data)), strict=True)
    return b''.join((data[:pixels], moved, *(data[start:end] for start, end in kept)))


def _chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each whole chunk of a PNG begins and ends."""
    at = len(_START) if data.startswith(_START) else len(data)
    while at + _FRAME_BYTES <= len(data):
        end = at + _FRAME_BYTES + struct.unpack_from('>L', data, at)[0]
        if end > len(data):
            return
        yield at, end
        at = end
