"""What names of colours mean on photographs: a and b of CIELAB; the lightness stays the photo's."""

from functools import cache
from math import hypot

from PIL import ImageColor

from insta_colorization.fileio.hints import parse_color

from .nouns import word_set

AB = tuple[float, float]

COLOURLESS: AB = (0.0, 0.0)
# Of 4,701 objects that captions of training photos give a colour, the mean of the tenth of each name that is most so.
_PHOTOGRAPHIC: dict[str, AB] = {
    'red': (36.0, 27.0),
    'orange': (30.0, 39.0),
    'yellow': (-3.0, 39.0),
    'green': (-17.0, 15.0),
    'blue': (5.0, -24.0),
    'purple': (20.0, -19.0),
    'pink': (37.0, 3.0),
    'brown': (11.0, 22.0),
    'tan': (5.0, 34.0),
}
# Common names that CSS does not have.
_FURTHER = {
    'golden': '#d4a017',
    'blond': '#d8b66c',
    'blonde': '#d8b66c',
    'mustard': '#ceb301',
    'burgundy': '#610023',
    'rust': '#a83c09',
    'rusty': '#a83c09',
    'cream': '#ffffc2',
    'peach': '#ffb07c',
    'copper': '#b66325',
    'brass': '#b08d3c',
    'bronze': '#a87900',
    'amber': '#feb308',
    'emerald': '#01a049',
    'rose': '#cf6275',
    'lilac': '#cea2fd',
    'mauve': '#ae7181',
    'mint': '#9ffeb0',
    'scarlet': '#be0119',
    'charcoal': '#808080',
    'silvery': '#808080',
}
# Names of things as well, which are read as colours only before a noun and after a copula.
AMBIGUOUS = word_set(
    'orange gold silver rose cream peach olive chocolate violet lavender brass copper bronze mustard rust mint '
    'charcoal amber emerald'
)
_COLOURLESS = frozenset(
    {f'{no} {colour}' for no in ('no', 'without') for colour in ('color', 'colour', 'colors', 'colours')}
    | {'colorless', 'colourless', 'uncolored', 'uncoloured'}
)
WHEEL = ('red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink')
# Names of CSS that captions use for things.
_NO_COLOURS = word_set(
    'snow tomato wheat linen peru lime plum salmon orchid thistle sienna coral honeydew azure bisque seashell '
    'moccasin gainsboro'
)
_FACTORS = {
    **dict.fromkeys(('dark', 'deep', 'light', 'very', 'medium', 'plain', 'solid'), 1.0),
    **dict.fromkeys(('bright', 'vivid', 'brilliant', 'neon', 'intense', 'strong'), 1.4),
    **dict.fromkeys(('pale', 'dull', 'faded', 'pastel', 'soft', 'dusty', 'muted', 'faint'), 0.6),
}
# Colours on a screen are stronger than those of things: what a name has above this chroma counts a quarter.
_NATURAL_CHROMA, _BEYOND = 24.0, 0.25


@cache
def color_of(name: str) -> AB | None:
    """a and b of the name of a colour in lower case, such as 'dark red' or 'reddish'; None if it is none."""
    name = name.removeprefix('off ').removesuffix(' colored').removesuffix(' coloured')
    if name in _PHOTOGRAPHIC:
        return _PHOTOGRAPHIC[name]
    if name in _COLOURLESS:
        return COLOURLESS
    compact = name.replace(' ', '')
    if compact in ImageColor.colormap and compact not in _NO_COLOURS:
        return _natural(parse_color(compact))
    if name in _FURTHER:
        return _natural(parse_color(_FURTHER[name]))
    first, _, rest = name.partition(' ')
    if first in _FACTORS and rest:
        return _scaled(color_of(rest), _FACTORS[first])
    if name.endswith('ish'):
        stems = (name[:-3], name[:-4], f'{name[:-3]}e')  # green-ish, red-d-ish, purpl-ish
        return _scaled(next(filter(None, map(_PHOTOGRAPHIC.get, stems)), None), 0.6)
    return None


def _natural(ab: AB) -> AB:
    chroma = hypot(*ab)
    if chroma <= _NATURAL_CHROMA:
        return ab
    factor = (_NATURAL_CHROMA + _BEYOND * (chroma - _NATURAL_CHROMA)) / chroma
    return ab[0] * factor, ab[1] * factor


def _scaled(ab: AB | None, factor: float) -> AB | None:
    return None if ab is None else (ab[0] * factor, ab[1] * factor)
