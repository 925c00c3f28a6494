"""A small grammar of captions: which colours a text gives to which of its nouns. It always reads a text the same way.

What it understands: 'two yellow taxis and a blue bus', 'a bus, red and white', "the man's shirt is dark red", 'a woman
in green', 'a bus that is not red', 'a bus without colour', 'the left bus', 'the bus on the right is blue'.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple

from insta_colorization.structures import COCO_CLASSES

from .colors import AB, AMBIGUOUS, COLOURLESS, WHEEL, color_of
from .nouns import NOUNS, SAME_PLURAL, Thing, singular, with_classes, word_set

Place = Literal['left', 'right', 'middle', 'top', 'bottom', 'biggest', 'smallest', 'first', 'second', 'third', 'last']

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[.,;:!?()]|&")
_PLACES: dict[str, Place] = {
    **dict.fromkeys(('left', 'leftmost'), 'left'),
    **dict.fromkeys(('right', 'rightmost'), 'right'),
    **dict.fromkeys(('middle', 'center', 'centre', 'central'), 'middle'),
    **dict.fromkeys(('upper', 'uppermost', 'topmost'), 'top'),
    **dict.fromkeys(('lower', 'lowest', 'bottom'), 'bottom'),
    **dict.fromkeys(('biggest', 'largest', 'tallest'), 'biggest'),
    **dict.fromkeys(('smallest', 'tiniest', 'littlest'), 'smallest'),
    **{word: word for word in ('first', 'second', 'third', 'last')},  # type: ignore[dict-item]
}
_COUNTED = 'one two three four five six seven eight nine ten'
_NUMBERS = {word: count for count, word in enumerate(_COUNTED.split(), 1)}
_ALL = word_set('all both each every many several some various few these those numerous most')
_DEFINITE = word_set('the this that his her their its my your our')
_INDEFINITE = word_set('a an another')
_NEGATIONS = word_set('no not never without neither nor non')
_COPULAS = word_set('is are was were be been being looks look becomes painted')
_HAVING = word_set('has have had with')
_PASSED = word_set(  # between a copula and its colour
    'very all mostly completely entirely painted colored coloured color colour a an of in partly mainly quite really '
    'also both only just so too now'
)
_WORN = word_set('in wearing wears dressed decorated')
_RELATIVE = word_set('that which who whose')
_JOINS = frozenset({'and', '&', ',', 'or'})
_STOPS = word_set('. ; : ! ? ( )')
# Words that end a run of words that may be one noun and what describes it.
_FUNCTION = (
    _ALL
    | _DEFINITE
    | _INDEFINITE
    | _NEGATIONS
    | _COPULAS
    | _HAVING
    | _RELATIVE
    | _JOINS
    | _STOPS
    | word_set(
        'of on in at to from by for near beside behind under over above below between into onto through across along '
        'around against down up off out about as like than then while when where but there it he she they them him i '
        'we you next inside outside during before after upon toward towards within amid among can will would could '
        'do does did rather instead'
    )
)
_BEFORE = 4
_LONGEST_NAME = 3


@dataclass
class Mention:
    """A noun of a caption.

    Attributes:
        start, end: its tokens.
        noun: in the singular, as the table has it.
        thing: what it stands for.
        many: whether it stands for several things.
        place: which one of several.
        count: how many, where the text says so.
        definite: whether it has 'the' or the like, so that it may be one that was named before.
        negated: whether the text says that there is none.
        owner: whose garment it is.
    """

    start: int
    end: int
    noun: str
    thing: Thing
    many: bool
    place: Place | None = None
    count: int | None = None
    definite: bool = False
    negated: bool = False
    owner: 'Mention | None' = None


@dataclass(frozen=True)
class Phrase:
    """A colour that a caption gives.

    Attributes:
        words: the words of colour and noun, as the caption has them.
        colors: the names of the colours.
        values: a and b of CIELAB of each.
        mention: the noun; None where there is none that is known.
        follows: whether the colour is not part of its noun's phrase, so that a definite one is no new thing.
        reason: why it cannot be used, as far as the text alone tells.
    """

    words: str
    colors: tuple[str, ...]
    values: tuple[AB, ...]
    mention: Mention | None = None
    follows: bool = False
    reason: str | None = None

    @property
    def ab(self) -> AB:
        """Their mean."""
        count = len(self.values)
        return sum(a for a, _ in self.values) / count, sum(b for _, b in self.values) / count

    def colors_of(self, count: int) -> list[AB]:
        """The colours of so many objects from left to right: each its own in 'two buses, red and blue', or the mean."""
        each = self.mention is not None and self.mention.count == count == len(self.values) > 1
        return list(self.values) if each else [self.ab] * count


class Reading(NamedTuple):
    """A caption that was read.

    Attributes:
        phrases: its colours, in order.
        plain: the known nouns that got no colour.
        unknown: the other words that the grammar does not know.
        classes: what the nouns may be.
    """

    phrases: tuple[Phrase, ...]
    plain: tuple[str, ...]
    unknown: tuple[str, ...]
    classes: frozenset[str] = frozenset()


@dataclass
class _Group:
    """Names of colours that belong together, and their tokens."""

    start: int
    end: int
    names: list[str] = field(default_factory=list)
    joined: bool = False


def read_caption(text: str, classes: Sequence[str] = COCO_CLASSES) -> Reading:
    """Finds the colours of a caption and what they are said of.

    Args:
        text: the caption.
        classes: what the detector finds; those that are no known nouns are taken for such.
    """
    return _Reader(_tokens(text), NOUNS if tuple(classes) == COCO_CLASSES else with_classes(classes)).read()


def _tokens(text: str) -> list[str]:
    text = text.lower().replace('\N{RIGHT SINGLE QUOTATION MARK}', "'")
    text = re.sub(r'\bt[- ]?shirt', 'tshirt', text)
    text = re.sub(r'\bpick[- ]up\b', 'pickup', text)
    text = re.sub(r"n't\b", ' not', text)
    tokens = []
    for token in _WORD.findall(text):
        owner, mark, _ = token.partition("'")
        tokens += [owner, "'s"] if mark else [owner]
    return tokens


class _Reader:
    def __init__(self, tokens: list[str], nouns: Mapping[str, Thing]) -> None:
        self.tokens, self._nouns = tokens, nouns
        self.groups = list(self._find_groups())
        self._colored = {position for group in self.groups for position in range(group.start, group.end)}
        self.mentions = list(self._find_mentions())
        self._ends = [mention.end for mention in self.mentions]
        self._starting = {mention.start: mention for mention in self.mentions}

    def read(self) -> Reading:
        phrases = tuple(self._phrase(group) for group in self.groups)
        colored = {id(phrase.mention) for phrase in phrases}
        plain = dict.fromkeys(self._said(m.start, m.end) for m in self.mentions if id(m) not in colored)
        known = self._colored | {position for m in self.mentions for position in range(m.start, m.end)}
        words = (w for n, w in enumerate(self.tokens) if n not in known and w[0].isalnum() and not _is_grammar(w))
        classes = frozenset(name for mention in self.mentions for name in mention.thing.classes)
        return Reading(phrases, tuple(plain), tuple(dict.fromkeys(words)), classes)

    def _word(self, position: int) -> str:
        return self.tokens[position] if 0 <= position < len(self.tokens) else '.'

    def _said(self, start: int, end: int) -> str:
        return ' '.join(self.tokens[start:end]).replace(" 's", "'s").replace(' ,', ',')

    # Colours

    def _find_groups(self) -> Iterator[_Group]:
        position = 0
        while position < len(self.tokens):
            group = self._group_at(position)
            if group is not None:
                yield group
            position = position + 1 if group is None else group.end

    def _group_at(self, start: int) -> _Group | None:
        group, position = _Group(start, start), start
        while (end := self._name_at(position, bool(group.names))) is not None:
            group.names.append(self._said(position, end))
            group.end = position = end
            while self._word(position) in _JOINS and self._name_at(position + 1, True) is not None:
                group.joined, position = True, position + 1
                break
        if group.names and self._word(group.end) in ('colored', 'coloured'):
            group.end += 1
        return group if group.names else None

    def _name_at(self, start: int, after_color: bool) -> int | None:
        """The end of the longest name of a colour that begins here."""
        for end in range(min(start + _LONGEST_NAME, len(self.tokens)), start, -1):
            name = ' '.join(self.tokens[start:end])
            if color_of(name) is not None:
                usable = after_color or name not in AMBIGUOUS or self._reads_as_color(start, end)
                return end if usable else None
        return None

    def _reads_as_color(self, start: int, end: int) -> bool:
        """Whether the name of a thing, such as orange, is that of a colour here: before a noun or after a copula."""
        before = start - 1
        while self._word(before) in _PASSED - _INDEFINITE:
            before -= 1
        following = self._word(end)
        if self._word(before) in _COPULAS | {','} and self._word(start - 1) not in _INDEFINITE:
            return following in _FUNCTION or following.isalpha()
        if following in _JOINS:
            return self._name_at(end + 1, True) is not None
        return following not in _FUNCTION and following != "'s" and not following.endswith('ing')

    # Nouns

    def _find_mentions(self) -> Iterator[Mention]:
        position, person, before = 0, None, None
        while position < len(self.tokens):
            found = None if position in self._colored else self._noun_at(position)
            if found is None:
                position += 1
                continue
            end, noun, many = found
            mention = Mention(position, end, noun, self._nouns[noun], many)
            self._describe(mention)
            if mention.thing.part is None and 'person' in mention.thing.classes:
                person = mention
            elif mention.thing.part is not None:
                mention.owner = before if before is not None and self._word(before.end) == "'s" else person
            yield mention
            position, before = end, mention

    def _noun_at(self, start: int) -> tuple[int, str, bool] | None:
        for end in range(min(start + _LONGEST_NAME, len(self.tokens)), start, -1):
            if not self._colored.isdisjoint(range(start, end)):
                continue
            if (found := singular(' '.join(self.tokens[start:end]), self._nouns)) is not None:
                return end, *found
        return None

    def _describe(self, mention: Mention) -> None:
        """Reads what stands before a noun, and a place behind it."""
        position = mention.start - 1
        for _ in range(_BEFORE):
            word = self._word(position)
            if word in _PLACES:
                mention.place = _PLACES[word]
            elif word in _NUMBERS or word.isdecimal():
                mention.count = _NUMBERS.get(word) or int(word[:4])
            elif word in _ALL:
                mention.many = True
                break
            elif word in _DEFINITE | _INDEFINITE | _NEGATIONS or word == "'s":
                mention.definite = word in _DEFINITE
                mention.negated = word in _NEGATIONS - {'not'}
                break
            elif word in _FUNCTION and position not in self._colored:
                break
            position -= 1
        if not mention.many and mention.noun not in SAME_PLURAL:  # 'a ten speed bicycle' is one
            mention.count = None
        mention.many = mention.many or (mention.count or 1) > 1
        position = mention.end
        while self._word(position) in _RELATIVE | {'is', 'are'}:
            position += 1
        if self._word(position) in ('on', 'at', 'to', 'in'):
            position += 1
            while self._word(position) in _DEFINITE | {'far', 'very'}:
                position += 1
            mention.place = _PLACES.get(self._word(position), mention.place)

    # Colours of nouns

    def _phrase(self, group: _Group) -> Phrase:
        names = group.names
        values = tuple(color_of(name) or COLOURLESS for name in names)
        mention, follows, last = self._noun_of(group)
        start = min(group.start, mention.start) if mention else group.start
        end = max(group.end, mention.end if mention else last)
        words = self._said(start, end)
        if follows and mention is not None and group.start - mention.end > _BEFORE:
            words = f'{self._said(mention.start, mention.end)} ... {self._said(group.start, group.end)}'
        return Phrase(words, tuple(names), values, mention, follows, self._fault(group, names, mention, last))

    def _fault(self, group: _Group, names: Sequence[str], mention: Mention | None, last: int) -> str | None:
        if self._negated(group):
            return 'it is negated'
        if not group.joined and not all(_alike(*pair) for pair in pairwise(names)):
            return f'it contradicts itself: {" and ".join(names)}'
        if mention is not None:
            return 'it is negated' if mention.negated else None
        if last > group.end:
            return f'{self._word(last - 1)!r} is no known noun'
        return 'there is no noun that it belongs to'

    def _negated(self, group: _Group) -> bool:
        if self._colourless(group):
            return False
        position = group.start - 1
        while self._word(position) in _PASSED | {'longer'}:
            position -= 1
        before = self._word(position)
        return before in _NEGATIONS or (before, self._word(position - 1)) in {('of', 'instead'), ('than', 'rather')}

    def _noun_of(self, group: _Group) -> tuple[Mention | None, bool, int]:
        """The noun of some colours, whether they come after it, and where the words that belong to them end."""
        after, end = self._run_from(group.end)
        before = self._before(group)
        if after is not None and not self._colourless(group):
            return after, False, end
        if before is not None:
            return before, True, group.end
        if self._colourless(group):  # 'no colour for the bus'
            start = group.end
            while self._word(start) in _DEFINITE | {'for', 'on', 'in'}:
                start += 1
            after, end = self._run_from(start)
            return after, True, end
        return None, False, end

    def _run_from(self, start: int) -> tuple[Mention | None, int]:
        """The last noun of the words up to one that ends them, and where they end."""
        found, position = None, start
        if self._word(position) in ('and', '&') and self._word(position + 1) not in _FUNCTION:
            position += 1
        while self._word(position) not in _FUNCTION and self._word(position) != "'s" and position not in self._colored:
            if (mention := self._starting.get(position)) is not None:
                found, position = mention, mention.end
                continue
            if found is not None and self._word(position).endswith(('ing', 'ed')):
                break
            position += 1
        return found, found.end if found is not None else max(position, start)

    def _colourless(self, group: _Group) -> bool:
        """Whether these are the words 'no colour', which stand behind their noun."""
        return len(group.names) == 1 and group.names[0].split()[0] in _NEGATIONS

    def _before(self, group: _Group) -> Mention | None:
        """The noun that some colours come after: 'the bus is red', 'a bus, red', 'a man in red', 'bus without colour'.

        A person in a colour stands for the clothes.
        """
        position = group.start - 1
        while self._word(position) in _PASSED - {'in'} | {'not', 'longer', 'never'}:
            position -= 1
        word = self._word(position)
        earlier = self.mentions[: bisect_right(self._ends, group.start)]
        if not earlier:
            return None
        if word in _WORN:
            return self._wearer(earlier[-1])
        if word in _COPULAS or self._colourless(group):
            return self._subject(earlier, position)
        follows = word == ',' and position == group.start - 1 and earlier[-1].end == position
        return earlier[-1] if follows else None

    def _wearer(self, last: Mention) -> Mention:
        """What was named last, as in 'a kitchen in white'; of a person the clothes."""
        person = last if last.thing.part is None else last.owner
        if person is None or 'person' not in person.thing.classes:
            return last
        return replace(person, noun='outfit', thing=NOUNS['outfit'], definite=True, owner=person)

    def _subject(self, earlier: Sequence[Mention], copula: int) -> Mention:
        """Of 'the cat on the bed is black' the cat; of 'the bed that is black' the bed."""
        if self._word(copula - 1) in _RELATIVE:
            return earlier[-1]
        subject = earlier[-1]
        for nearer, mention in pairwise(reversed(earlier)):
            between = self.tokens[mention.end : nearer.start]
            if any(word in _JOINS | _STOPS | _COPULAS | {"'s", 'while', 'but'} for word in between):
                break
            subject = mention
        return subject


def _is_grammar(word: str) -> bool:
    return word in _FUNCTION or word in _PASSED or word in _PLACES or word in _NUMBERS or word in _WORN or word == "'s"


@cache
def _alike(one: str, other: str) -> bool:
    """Whether two names that stand side by side make one colour: blue green, reddish brown, mustard yellow."""
    if one.endswith('ish') or one in AMBIGUOUS:
        return True
    places = [next((n for n, hue in enumerate(WHEEL) if hue in name.split()), None) for name in (one, other)]
    if None in places:
        return False
    return (places[0] - places[1]) % len(WHEEL) in (1, len(WHEEL) - 1)  # type: ignore[operator]
