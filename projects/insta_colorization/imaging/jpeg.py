"""Extended XMP in JPEG files (XMP, part 3), which libvips neither reads nor writes."""

import struct
from collections import defaultdict
from collections.abc import Iterator
from hashlib import md5

_START, _PIXELS, _APP1 = b'\xff\xd8', 0xDA, 0xE1
_PACKET, _EXTENSION = b'http://ns.adobe.com/xap/1.0/\0', b'http://ns.adobe.com/xmp/extension/\0'
_DIGEST_BYTES = 32
_CHUNK = 65_400


def extension_of(data: bytes) -> bytes:
    """The extended XMP of a JPEG; b'' if there is none, if it is incomplete, and for other files."""
    parts: dict[bytes, dict[int, bytes]] = defaultdict(dict)
    head = len(_EXTENSION) + _DIGEST_BYTES
    for _, content in _segments(data):
        if content.startswith(_EXTENSION) and len(content) >= head + 8:
            _, offset = struct.unpack_from('>LL', content, head)
            parts[content[len(_EXTENSION) : head]][offset] = content[head + 8 :]
    for digest, found in parts.items():
        whole = b''.join(found[offset] for offset in sorted(found))
        if _digest(whole) == digest:
            return whole
    return b''


def with_extension(data: bytes, rest: bytes) -> bytes:
    """Inserts extended XMP after the XMP packet of a JPEG; returns a file without a packet unchanged."""
    at = next((end for end, content in _segments(data) if content.startswith(_PACKET)), None)
    if at is None:
        return data
    segments = []
    for offset in range(0, len(rest), _CHUNK):
        numbers = struct.pack('>LL', len(rest), offset)
        content = _EXTENSION + _digest(rest) + numbers + rest[offset : offset + _CHUNK]
        segments.append(struct.pack('>BBH', 0xFF, _APP1, len(content) + 2) + content)
    return data[:at] + b''.join(segments) + data[at:]


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the end offset and the content of each APP1 segment before a JPEG's pixels."""
    at = len(_START) if data.startswith(_START) else len(data)
    while data[at : at + 1] == b'\xff' and len(data) >= at + 4 and data[at + 1] != _PIXELS:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
        if data[at + 1] == _APP1:
            yield end, data[at + 4 : end]
        at = end


def _digest(rest: bytes) -> bytes:
    return md5(rest, usedforsecurity=False).hexdigest().upper().encode()
