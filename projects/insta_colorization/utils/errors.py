"""How an error is told to the user: in one sentence."""

import os

# Errors whose text is written for the user; any other one is a mistake of ours.
EXPECTED = (ValueError, OSError, ImportError, FloatingPointError)


def sentence(error: Exception) -> str:
    """The text of an error in one line; one that nobody foresaw is called by its type as well."""
    text = printable(' '.join(str(error).split()))
    return text if isinstance(error, EXPECTED) else f'unexpected {type(error).__name__}: {text}'


def printable(text: str) -> str:
    """A text whose characters that steer a terminal, or are no Unicode, as in some names of files, are spelt out."""
    return ''.join(each if each.isprintable() else each.encode('unicode_escape').decode() for each in text)


def as_unicode(name: str) -> str:
    r"""The name of a file whose bytes that are not UTF-8 are spelt out, `M\xfcnchen.jpg`."""
    return os.fsencode(name).decode('utf-8', 'backslashreplace')
