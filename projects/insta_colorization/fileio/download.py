"""Files of weights from the network: whole and the right ones, or not at all."""

import hashlib
import logging
import os
import re
import socket
import urllib.request
from http.client import HTTPException
from pathlib import Path

logger = logging.getLogger(__name__)

# A machine without a network must not keep its user waiting for the answer.
_TIMEOUT_SECONDS = 5


def fetch(url: str, target: Path) -> None:
    """Downloads a file to `target`, whole or not at all.

    Args:
        url: where it is.
        target: its name may end in the first digits of the file's sha256, as in `vgg16-397923af.pth`; these are
            checked, as by torch's hub.

    Raises:
        OSError: it cannot be fetched or written, or is another file than its name says; the message is only the reason.
    """
    partial = target.with_name(f'{target.name}.{os.getpid()}.part')
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_SECONDS)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        logger.info('fetching %s', url)
        # Torch's own download keeps a file that broke off, unless its name has a hash.
        urllib.request.urlretrieve(url, partial)
        expected = re.search(r'-([0-9a-f]{8,})\.\w+$', target.name)
        digest = sha256(partial)
        if expected and not digest.startswith(expected[1]):
            raise OSError(f'the file is damaged: its sha256 begins with {digest[: len(expected[1])]}')
        partial.replace(target)
    except (OSError, HTTPException) as error:
        raise OSError(str(getattr(error, 'reason', None) or error)) from error
    finally:
        socket.setdefaulttimeout(patience)
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
