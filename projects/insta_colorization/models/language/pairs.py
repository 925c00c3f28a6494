"""Which colours a caption gives to which nouns, and the caption with other colours in their places."""

import re
from collections.abc import Mapping
from math import dist

from .colors import AB, color_of
from .grammar import read_caption

# The basic names of colours (Berlin, Kay 1969).
BASIC = ('red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'brown', 'black', 'white', 'gray')
# Another colour is one that is this far away, in Lab units.
OTHER = 25.0


def color_pairs(caption: str) -> tuple[tuple[str, str], ...]:
    """(noun, name of its colour) of a caption, as far as the grammar understands it."""
    phrases = [phrase for phrase in read_caption(caption).phrases if phrase.reason is None]
    return tuple((p.mention.noun, name) for p in phrases if p.mention is not None for name in p.colors)


def other_colors(ab: AB) -> dict[str, AB]:
    """The basic names of colours that are far from one, and what they mean."""
    meant = {name: color_of(name) or (0.0, 0.0) for name in BASIC}
    return {name: own for name, own in meant.items() if dist(own, ab) > OTHER}


def with_colors(caption: str, names: Mapping[str, str]) -> str:
    """A caption in lower case with other names of colours in the place of some."""
    listed = sorted(names, key=len, reverse=True)  # 'dark red' before 'red'
    return re.sub(rf'\b({"|".join(map(re.escape, listed))})\b', lambda found: names[found[1]], caption.lower())
