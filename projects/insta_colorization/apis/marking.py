"""Encodes pictures with the marks that a user chose, and describes the event for records."""

import uuid
from hashlib import sha256
from pathlib import Path
from typing import Any

from insta_colorization.imaging.credentials import Signer, original_of
from insta_colorization.imaging.marks import AGENT, visibly_marked
from insta_colorization.imaging.photo import QUALITY, encode_photo
from insta_colorization.utils.options import MarkOptions

from .predictor import Prediction


class Marker:
    """Encodes pictures and marks them.

    Args:
        options: which marks they get.

    Raises:
        ImportError: c2pa-python is needed and not installed.
        OSError: the certificate or the key cannot be read.
        ValueError: certificate and key cannot sign; see `Signer`.
    """

    def __init__(self, options: MarkOptions | None = None) -> None:
        self.options = options or MarkOptions()
        self._signer: Signer | None = None
        if self.options.marks == 'c2pa':
            assert self.options.c2pa_cert is not None
            assert self.options.c2pa_key is not None
            files = Path(self.options.c2pa_cert), Path(self.options.c2pa_key)
            self._signer = Signer(*files, self.options.c2pa_timestamps)

    def encode(
        self,
        prediction: Prediction,
        suffix: str,
        quality: int = QUALITY,
        file: Path | None = None,
        title: str = '',
    ) -> bytes:
        """The bytes of a file, see `encode_photo`.

        Args:
            prediction: the picture and its provenance.
            suffix: of the format.
            quality: of JPEG and WebP, 1 to 100.
            file: the file that the photo was read from; None if there is none.
            title: the name of the result.

        Raises:
            ImageWriteError: the format cannot hold the picture.
            ValueError: it cannot be signed, or the photo's file has changed since it was read.
        """
        photo = prediction.unmarked if self.options.marks == 'none' else prediction.photo
        if self.options.visible_mark:
            photo = photo.with_pixels(visibly_marked(photo.pixels))
        data = encode_photo(photo, suffix, quality)
        if self._signer is None:
            return data
        original = original_of(prediction.source, prediction.record['photo'], file)
        return self._signer.sign(data, prediction.change, original, title)


def event_of(prediction: Prediction, data: bytes) -> dict[str, Any]:
    """The preservation event (PREMIS 3) that produced a file, serializable as JSON.

    Args:
        prediction: the picture.
        data: the bytes of the result's file.
    """
    source, outcome = prediction.source.digest, sha256(data).hexdigest()
    return {
        'eventIdentifier': {'type': 'UUID', 'value': str(uuid.uuid4())},
        'eventType': 'modification',
        'eventDateTime': prediction.change.when,
        'eventDetail': 'colours were predicted by neural networks and joined with the lightness of the source',
        'eventOutcome': 'success',
        'linkingAgent': {'type': 'software', **AGENT},
        'linkingObjects': [{'role': 'source', 'sha256': source}, {'role': 'outcome', 'sha256': outcome}],
    }
