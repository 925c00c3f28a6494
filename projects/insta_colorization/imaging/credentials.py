"""Content Credentials (C2PA): writing manifests signed with the user's own certificate, and reading them back.

`c2pa-python` makes and validates manifests; `cryptography`, its dependency, finds out what is wrong with a certificate.
"""

import io
import json
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from insta_colorization.utils.errors import as_unicode

from .marks import AGENT, SOURCE_TYPE, Change
from .photo import Photo, encode_photo

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

logger = logging.getLogger(__name__)

_EXTRA = 'C2PA needs c2pa-python: pip install "insta_colorization[c2pa]"'
_PARENT = 'original'
# A thumbnail would be a second copy of the photo.
_SETTINGS: dict[str, Any] = {'builder': {'thumbnail': {'enabled': False}}}
_CURVES = {'secp256r1': 'es256', 'secp384r1': 'es384', 'secp521r1': 'es512'}
# Media types by the first bytes of files: names may be wrong, and those of pages do not end in a suffix.
_TYPES = {
    rb'\xff\xd8': 'image/jpeg',
    rb'\x89PNG': 'image/png',
    rb'II[*+]\0|MM\0[*+]': 'image/tiff',
    rb'RIFF.{4}WEBP': 'image/webp',
    rb'GIF8': 'image/gif',
    rb'.{4}ftypavi[fs]': 'image/avif',
}


@dataclass(frozen=True)
class Original:
    """The photo that was colourised, as a manifest names it.

    Attributes:
        title: its name.
        data: the bytes of its file, or None if there is no file.
    """

    title: str
    data: bytes | None = None


class Signer:
    """Signs files with manifests.

    Args:
        certificate: PEM file of the certificate chain, the signer's first.
        key: PEM file of the signer's private key, without a password.
        timestamps: URL of a time-stamp server (RFC 3161); None for no time stamps.

    Raises:
        ImportError: c2pa-python is not installed.
        OSError: a file cannot be read.
        ValueError: certificate and key cannot sign; the message says why.
    """

    def __init__(self, certificate: Path, key: Path, timestamps: str | None = None) -> None:
        _library()
        self._chain, self._key = certificate.read_bytes(), key.read_bytes()
        self._timestamps: str | None = None
        self._algorithm = _checked(certificate, self._chain, key, self._key)
        # Faults that only the library and the server detect are found before any photo is coloured.
        self._try(f'{certificate} cannot sign for C2PA')
        if timestamps is not None:
            self._timestamps = timestamps
            self._try(f'there is no time stamp from {timestamps}')

    def _try(self, fault: str) -> None:
        try:
            self.sign(encode_photo(np.zeros((8, 8), np.uint8), '.png'), Change({}), Original('trial'))
        except ValueError as error:
            raise ValueError(f'{fault}: {error}') from error

    def sign(self, data: bytes, change: Change, original: Original, title: str = '') -> bytes:
        """Returns a file with a manifest that says that a photo was opened and then edited by this program.

        Args:
            data: the bytes of a PNG, JPEG, TIFF or WebP file without a manifest.
            change: what was done.
            original: what was opened; if the library cannot read it, the manifest has only its title.
            title: the file's name.

        Raises:
            ValueError: the file cannot be signed.
        """
        c2pa, kind, result = _library(), _type_of(data), io.BytesIO()
        manifest = _manifest(change, as_unicode(title), kind)
        try:
            info = c2pa.C2paSignerInfo(self._algorithm, self._chain, self._key, self._timestamps)
            with (
                c2pa.Context.from_dict(_SETTINGS) as context,
                _builder(manifest, original, context) as builder,
                c2pa.Signer.from_info(info) as signer,
            ):
                builder.sign(signer, kind, io.BytesIO(data), result)
        except c2pa.C2paError as error:
            raise ValueError(_reason(error)) from error
        return result.getvalue()


def original_of(photo: Photo, name: str, file: Path | None) -> Original:
    """The original that a manifest names as the parent of a result.

    Args:
        photo: the photo that was colourised.
        name: its name.
        file: the file it was read from, or None.

    Raises:
        ValueError: the file has changed since it was read, or is gone.
    """
    title = Path(name).name
    if file is None:
        return Original(title)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ValueError(f'{file} was gone before a manifest could name it: {error.strerror}') from error
    if sha256(data).hexdigest() != photo.digest:
        raise ValueError(f'{file} has changed while it was coloured, so that no manifest can name it')
    return Original(title, data)


def read_manifest(data: bytes, name: str, anchors: str | None = None) -> dict[str, Any] | None:
    """Reads and validates the manifest of a file; returns None for a file without one.

    Args:
        data: the bytes of the file.
        name: what messages call the file.
        anchors: trusted certificates (PEM); None accepts any signer.

    Returns:
        `state` (Invalid, Valid, or Trusted by the anchors), `problems` (codes of the standard), `signer` and `time` of
        the signature or None, the titles of the `parents`, and the `actions` of the manifest.

    Raises:
        ImportError: c2pa-python is not installed.
        ValueError: the manifest cannot be read.
    """
    c2pa = _library()
    settings: dict[str, Any] = {'verify': {'verify_trust': anchors is not None}}
    if anchors is not None:
        settings['trust'] = {'trust_anchors': anchors}
    try:
        with (
            c2pa.Context.from_dict(settings) as context,
            c2pa.Reader(_type_of(data) or 'application/octet-stream', io.BytesIO(data), context=context) as reader,
        ):
            told = json.loads(reader.json())
    except c2pa.C2paError as error:
        if str(error).startswith('ManifestNotFound'):
            return None
        raise ValueError(f'the manifest of {name} cannot be read: {_reason(error)}') from error
    manifest = told['manifests'][told['active_manifest']]
    signature = manifest.get('signature_info', {})
    return {
        'state': told['validation_state'],
        'problems': [each['code'] for each in told.get('validation_status', ())],
        'signer': signature.get('issuer') or signature.get('common_name'),
        'time': signature.get('time'),
        'parents': [
            each.get('title') or 'untitled'
            for each in manifest.get('ingredients', ())
            if each['relationship'] == 'parentOf'
        ],
        'actions': [
            action
            for each in manifest.get('assertions', ())
            if each['label'].startswith('c2pa.actions')
            for action in each['data']['actions']
        ],
    }


def _library() -> Any:
    try:
        import c2pa
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ImportError(_EXTRA) from error
    return c2pa


def _manifest(change: Change, title: str, kind: str | None) -> dict[str, Any]:
    actions = [
        {'action': 'c2pa.opened', 'parameters': {'ingredientIds': [_PARENT]}},
        {
            'action': 'c2pa.edited',
            'when': change.when,
            'softwareAgent': AGENT,
            'digitalSourceType': SOURCE_TYPE,
            'parameters': dict(change.parameters),
        },
    ]
    return {
        'claim_generator_info': [AGENT],
        'title': title,
        'format': kind,
        'assertions': [{'label': 'c2pa.actions.v2', 'data': {'actions': actions}}],
    }


def _builder(manifest: dict[str, Any], original: Original, context: Any) -> Any:
    """The library's builder of a manifest with the original as its parent."""
    c2pa, title = _library(), as_unicode(original.title)
    parent = {'title': title, 'relationship': 'parentOf', 'instance_id': _PARENT}
    data = original.data or b''
    kind = _type_of(data)
    if kind is not None:
        builder = c2pa.Builder(manifest, context)
        try:
            builder.add_ingredient(parent, kind, io.BytesIO(data))
        except c2pa.C2paError as error:
            builder.close()
            logger.warning('the manifest has the name of %s without its content: %s', title, _reason(error))
        else:
            return builder
    return c2pa.Builder(manifest | {'ingredients': [parent]}, context)


def _checked(certificate: Path, chain: bytes, key: Path, private: bytes) -> str:
    """The signature algorithm of a key; raises `ValueError` if key and certificate cannot be used together."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    try:
        own = load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise ValueError(f'{certificate} holds no certificate in PEM form') from error
    try:
        opened = load_pem_private_key(private, None)
    except TypeError as error:
        raise ValueError(f'the key {key} has a password, and is needed without one') from error
    except ValueError as error:
        raise ValueError(f'{key} holds no private key in PEM form') from error
    if opened.public_key() != own.public_key():
        raise ValueError(f'the key {key} does not fit the certificate {certificate}')
    _require_valid_now(certificate, own)
    return _algorithm_of(opened, key)


def _require_valid_now(certificate: Path, own: 'Certificate') -> None:
    now, since, until = datetime.now(UTC), own.not_valid_before_utc, own.not_valid_after_utc
    if now > until:
        raise ValueError(f'the certificate {certificate} expired on {until:%Y-%m-%d}; today is {now:%Y-%m-%d}')
    if now < since:
        raise ValueError(f'the certificate {certificate} is valid from {since:%Y-%m-%d}; today is {now:%Y-%m-%d}')


def _algorithm_of(key: Any, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, RSAPrivateKey):
        return 'ps256'
    if isinstance(key, Ed25519PrivateKey):
        return 'ed25519'
    kind = key.curve.name if isinstance(key, EllipticCurvePrivateKey) else type(key).__name__
    raise ValueError(f'the key {path} must be RSA, Ed25519 or on a curve of {", ".join(_CURVES)}, but is {kind}')


def _type_of(data: bytes) -> str | None:
    """The media type of a file, by its first bytes; None for what is not on the list."""
    return next((kind for head, kind in _TYPES.items() if re.match(head, data, re.DOTALL)), None)


def _reason(error: Exception) -> str:
    """The library's sentence without the kind of error before it."""
    return str(error).partition(': ')[2] or str(error)
