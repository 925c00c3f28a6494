"""Photo files to pixels and back, and colour on them."""

from .photo import (
    READABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    ImageReadError,
    ImageWriteError,
    Metadata,
    Photo,
    as_photo,
    decode_photo,
    encode_photo,
    load_rgb,
    read_photo,
    write_photo,
)
