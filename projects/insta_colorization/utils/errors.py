"""How an error is told to the user: in one sentence."""

# Errors whose text is written for the user; any other one is a mistake of ours.
EXPECTED = (ValueError, OSError, ImportError, FloatingPointError)


def sentence(error: Exception) -> str:
    """The text of an error in one line; one that nobody foresaw is called by its type as well."""
    text = ' '.join(str(error).split())
    return text if isinstance(error, EXPECTED) else f'unexpected {type(error).__name__}: {text}'
