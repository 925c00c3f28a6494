"""Files from the network: whole and the right ones, or not at all; of a size and in a time that have an end."""

import hashlib
import logging
import os
import re
import urllib.request
from collections.abc import Iterator
from functools import cache
from http.client import HTTPException
from pathlib import Path
from time import monotonic

logger = logging.getLogger(__name__)

# A machine without a network must not keep its user waiting for the answer.
_TIMEOUT_SECONDS = 5
_MAX_BYTES = 4 * 2**30
_MAX_SECONDS = 3600
_CHUNK_BYTES = 2**20


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
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        logger.info('fetching %s', url)
        # Torch's own download keeps a file that broke off, unless its name has a hash.
        with partial.open('wb') as file:
            file.writelines(download(url, _TIMEOUT_SECONDS, _MAX_BYTES, _MAX_SECONDS))
        expected = re.search(r'-([0-9a-f]{8,})\.\w+$', target.name)
        digest = sha256(partial)
        if expected and not digest.startswith(expected[1]):
            raise OSError(f'the file is damaged: its sha256 begins with {digest[: len(expected[1])]}')
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def download(url: str, timeout: float, max_bytes: int, max_seconds: float) -> Iterator[bytes]:
    """The bytes behind an `http(s)` address, as they come.

    Args:
        url: the address; it may redirect to others of its kind.
        timeout: seconds to wait for an answer, and for each part of it.
        max_bytes: how long the answer may be.
        max_seconds: how long all of it may take.

    Raises:
        OSError: there is no whole answer within these limits; the message is only the reason.
    """
    begin, got = monotonic(), 0
    # Some servers turn away whatever calls itself Python-urllib.
    request = urllib.request.Request(url, headers={'User-Agent': 'insta_colorization'})
    try:
        with _opener().open(request, timeout=timeout) as response:
            expected = response.length
            while chunk := response.read1(_CHUNK_BYTES):
                got += len(chunk)
                if got > max_bytes:
                    raise OSError(f'it is longer than the {max_bytes} bytes allowed')
                if monotonic() - begin > max_seconds:
                    raise OSError(f'it takes longer than the {max_seconds:g} s allowed, {got} bytes came')
                yield chunk
            if expected is not None and got < expected:
                raise OSError(f'retrieval incomplete: got only {got} out of {expected} bytes')
    except (OSError, HTTPException, ValueError) as error:
        raise OSError(str(getattr(error, 'reason', None) or error)) from error


@cache
def _opener() -> urllib.request.OpenerDirector:
    """What follows addresses; urllib's own would follow them to FTP as well."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
