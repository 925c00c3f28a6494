"""Marks that say that a picture was colourised by networks: XMP for programs, a text in a corner for people."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import cv2
import numpy as np

from insta_colorization import __version__

from .photo import Photo
from .xmp import read_origin, with_event

logger = logging.getLogger(__name__)

# The term of IPTC's vocabulary for a photo that was partly made by a trained model.
SOURCE_TYPE = 'http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia'
AGENT = {'name': 'insta_colorization', 'version': __version__}
VISIBLE_TEXT = 'colourised by AI'

# The whole history should fit into the first part of a JPEG's XMP, which has room for 60,000 bytes.
_LONGEST_PARAMETERS = 16_000
# Height of the letters of the visible mark: as a fraction of the shorter side, and its minimum in pixels.
_LETTERS, _SMALLEST = 0.025, 8
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Change:
    """How a photo was colourised.

    Attributes:
        parameters: `weights` with their SHA-256, `config`, `settings`, and what the user asked for, in JSON types.
        when: the time in UTC, in ISO 8601 format.
    """

    parameters: Mapping[str, Any]
    when: str = field(default_factory=lambda: datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ'))

    def event(self, former_type: str | None) -> dict[str, str]:
        """The entry for XMP's history; `former_type` is the digital source type that the photo had before."""
        told = dict(self.parameters) | ({'former_digital_source_type': former_type} if former_type else {})
        return {
            'action': 'edited',
            'when': self.when,
            'softwareAgent': ' '.join(AGENT.values()),
            'changed': '/content',
            'parameters': _brief(told),
        }


def marked(photo: Photo, change: Change) -> Photo:
    """Returns the photo with XMP that says that it was colourised, and how; the rest of its XMP is kept.

    Damaged XMP is replaced, with a warning.
    """
    packet = photo.metadata.blobs.get('xmp-data', b'')
    try:
        former = read_origin(packet).source_type if packet else None
        packet = with_event(packet, SOURCE_TYPE, change.event(former))
    except ValueError as error:
        logger.warning('the XMP of %s is damaged and is replaced: %s', photo.path or 'the photo', error)
        packet = with_event(b'', SOURCE_TYPE, change.event(None))
    return replace(photo, metadata=replace(photo.metadata, blobs={**photo.metadata.blobs, 'xmp-data': packet}))


def visibly_marked(pixels: np.ndarray) -> np.ndarray:
    """Returns a copy of a picture with a small text in the lower right corner, white with a black outline.

    Args:
        pixels: (H, W, 3) uint8 or uint16 RGB; if the text does not fit, it is made smaller.
    """
    height, width = pixels.shape[:2]
    letters = max(_SMALLEST, round(_LETTERS * min(height, width)))
    scale = cv2.getFontScaleFromHeight(_FONT, letters)
    stroke = max(1, round(letters / 10))
    (across, above), below = cv2.getTextSize(VISIBLE_TEXT, _FONT, scale, stroke)
    margin = letters // 2
    drawn = np.zeros((2, above + below + 2 * margin, across + 2 * margin), np.uint8)
    for plane, thickness in zip(drawn, (stroke + 2 * max(1, stroke), stroke), strict=True):
        cv2.putText(plane, VISIBLE_TEXT, (margin, margin + above), _FONT, scale, (255,), thickness, cv2.LINE_AA)
    fitting = min(1.0, width / drawn.shape[2], height / drawn.shape[1])
    size = max(1, int(drawn.shape[2] * fitting)), max(1, int(drawn.shape[1] * fitting))
    edge, text = (cv2.resize(plane, size, interpolation=cv2.INTER_AREA)[..., None] / 255 for plane in drawn)
    result = pixels.copy()
    corner = result[height - size[1] :, width - size[0] :]
    corner[:] = (corner * (1 - edge) + np.iinfo(pixels.dtype).max * text).round()
    return result


def _brief(parameters: Mapping[str, Any]) -> str:
    """Parameters as ASCII JSON; if that is too long, the longest values become their lengths and SHA-256."""
    told = {name: json.dumps(value, separators=(',', ':')) for name, value in parameters.items()}
    while sum(map(len, told.values())) > _LONGEST_PARAMETERS:
        longest = max(told, key=lambda name: len(told[name]))
        text = told[longest].encode()
        told[longest] = json.dumps({'characters': len(text), 'sha256': sha256(text).hexdigest()})
    return '{' + ','.join(f'{json.dumps(name)}:{text}' for name, text in told.items()) + '}'
