"""Verifies whether a file says that it was colourised, and whether its manifest is valid."""

from pathlib import Path
from typing import Any

from insta_colorization.fileio.files import open_regular
from insta_colorization.utils.errors import sentence

from .codecs import xmp_of
from .credentials import read_manifest
from .decoders import MAX_PIXELS
from .marks import SOURCE_TYPE
from .xmp import read_origin

# The type of the outermost box of a manifest (JUMBF).
_MANIFEST = b'jumdc2pa'


def verify(file: Path, anchors: str | None = None, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """Reads and checks the marks of a file.

    Args:
        file: a result.
        anchors: see `read_manifest`.
        max_pixels: how many pixels it may have.

    Returns:
        `file`; `holds`, whether the file has a mark and its manifest, if any, is valid; `xmp`, its `source_type` and
        `history`, or None; `c2pa`, see `read_manifest`, or None; `error`, a sentence, or None.
    """
    found: dict[str, Any] = {'file': str(file), 'holds': False, 'xmp': None, 'c2pa': None, 'error': None}
    try:
        with open_regular(file) as opened:
            data = opened.read()
    except OSError as error:
        return found | {'error': f'cannot read {file}: {error.strerror}'}
    try:
        found['xmp'] = _xmp(data, str(file), max_pixels)
        found['c2pa'] = _manifest(data, file.name, anchors)
    except (ImportError, OSError, ValueError) as error:
        return found | {'error': sentence(error)}
    xmp, manifest = found['xmp'], found['c2pa']
    said = [] if manifest is None else [action.get('digitalSourceType') for action in manifest['actions']]
    enough = ('Trusted',) if anchors is not None else ('Trusted', 'Valid')
    marked = SOURCE_TYPE in (*said, xmp and xmp['source_type'])
    return found | {'holds': marked and (manifest is None or manifest['state'] in enough)}


def _xmp(data: bytes, name: str, max_pixels: int) -> dict[str, Any] | None:
    packet = xmp_of(data, name, max_pixels)
    if not packet:
        return None
    try:
        origin = read_origin(packet)
    except ValueError as error:
        raise ValueError(f'the XMP of {name} is damaged: {error}') from error
    return {'source_type': origin.source_type, 'history': list(origin.history)}


def _manifest(data: bytes, name: str, anchors: str | None) -> dict[str, Any] | None:
    # A file without a manifest can be verified without the library.
    return read_manifest(data, name, anchors) if _MANIFEST in data else None
