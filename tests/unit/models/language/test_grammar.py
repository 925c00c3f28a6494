import time

import pytest

from insta_colorization.models.language import read_caption
from insta_colorization.models.language.colors import color_of
from insta_colorization.models.language.nouns import NOUNS, PARTS, singular
from insta_colorization.structures import COCO_CLASSES


def said(text: str) -> list[tuple[str, str]]:
    """(colours, noun) of all that can be used."""
    phrases = [phrase for phrase in read_caption(text).phrases if phrase.reason is None]
    return [(' '.join(phrase.colors), phrase.mention.noun) for phrase in phrases]


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('two yellow taxis and a blue bus', [('yellow', 'taxi'), ('blue', 'bus')]),
        ("The man's shirt is dark red.", [('dark red', 'shirt')]),
        ('a bus, red', [('red', 'bus')]),
        ('a bus, red and white, in front of a green car', [('red white', 'bus'), ('green', 'car')]),
        ('a red, white and blue kite', [('red white blue', 'kite')]),
        ('a red yellow and orange fruit', [('red yellow orange', 'fruit')]),
        ('the cat on the bed is black', [('black', 'cat')]),
        ('a cat on a bed that is black', [('black', 'bed')]),
        ('a man in a dark-red jacket', [('dark red', 'jacket')]),
        ('a smiling man in green next to an elephant', [('green', 'outfit')]),
        ('a boy with long hair wearing all black', [('black', 'outfit')]),
        ('a kitchen decorated in white', [('white', 'kitchen')]),
        ('a red pick up truck drives down the road', [('red', 'pickup truck')]),
        ('blue train car sitting on the rails', [('blue', 'train car')]),
        ('a blue and raspberry topped cake', [('blue', 'cake')]),
        ('a red fire hydrant', [('red', 'fire hydrant')]),
        ('a cream-colored horse', [('cream colored', 'horse')]),
        ('a reddish brown horse', [('reddish brown', 'horse')]),
        ('a blue-green car', [('blue green', 'car')]),
        ('a mustard yellow airplane', [('mustard yellow', 'airplane')]),
        ('the bus has no colour', [('no colour', 'bus')]),
        ('a bus without color', [('without color', 'bus')]),
        ('no colour for the bus', [('no colour', 'bus')]),
        ('a grey bus', [('grey', 'bus')]),
        ('an orange cat eats an orange and a banana', [('orange', 'cat')]),
        ('the car is orange', [('orange', 'car')]),
        ('a gold colored polished airplane', [('gold colored', 'airplane')]),
        ('people holding green umbrellas', [('green', 'umbrella')]),
    ],
)
def test_colours_and_their_nouns(text, expected):
    assert said(text) == expected


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('a red blue bus', 'it contradicts itself: red and blue'),
        ('a bus that is not red', 'it is negated'),
        ("the bus isn't red", 'it is negated'),
        ('blue instead of red', 'there is no noun that it belongs to'),
        ('there is no red bus', 'it is negated'),
        ('a street without red cars', 'it is negated'),
        ('red', 'there is no noun that it belongs to'),
        ('colour it red', 'there is no noun that it belongs to'),
        ('a red thingamajig', "'thingamajig' is no known noun"),
    ],
)
def test_what_cannot_be_used_says_why(text, reason):
    phrase = read_caption(text).phrases[-1 if 'instead' not in text else 0]

    assert phrase.reason == reason


@pytest.mark.parametrize(
    ('text', 'place', 'count', 'many'),
    [
        ('the left bus is red', 'left', None, False),
        ('a red bus on the far right', 'right', None, False),
        ('the bus on the left is red', 'left', None, False),
        ('the biggest red bus', 'biggest', None, False),
        ('the second bus is red', 'second', None, False),
        ('two red buses', None, 2, True),
        ('3 red buses', None, 3, True),
        ('some red buses', None, None, True),
        ('red cattle', None, None, True),
    ],
)
def test_which_one_is_meant(text, place, count, many):
    mention = read_caption(text).phrases[0].mention

    assert (mention.place, mention.count, mention.many) == (place, count, many)


def test_a_garment_knows_its_person():
    phrases = read_caption("a woman in a red dress and a man in a blue shirt; the boy's hat is green").phrases

    assert [phrase.mention.owner.noun for phrase in phrases] == ['woman', 'man', 'boy']


def test_two_buses_of_two_colours():
    (phrase,) = read_caption('two buses, red and blue').phrases

    assert phrase.colors_of(2) == [color_of('red'), color_of('blue')]
    assert phrase.colors_of(1) == [phrase.ab]


def test_what_has_no_colour_and_what_is_unknown():
    reading = read_caption('A dog and two cats frobnicate on a red couch')

    assert reading.plain == ('dog', 'cats')
    assert reading.unknown == ('frobnicate',)


@pytest.mark.parametrize('text', ['Красный автобус', '赤いバス', 'حافلة حمراء', '🚌🚌', '?!...', ''])
def test_other_scripts_and_no_words_have_no_colours(text):
    assert read_caption(text).phrases == ()


def test_ten_thousand_words_take_a_moment():
    start = time.process_time()
    reading = read_caption('a red bus beside the cat on the bed which is black and ' * 770)

    assert len(reading.phrases) == 1540
    assert time.process_time() - start < 10


def test_long_runs_without_an_end():
    assert len(read_caption('red ' * 10_000).phrases) == 1
    assert read_caption('word ' * 10_000).unknown == ('word',)


class TestColors:
    def test_names(self):
        assert color_of('red') == (36.0, 27.0)
        assert color_of('grey') == color_of('no colour') == color_of('black') == (0.0, 0.0)
        assert color_of('bright red') == pytest.approx((50.4, 37.8))
        assert color_of('greenish') == pytest.approx((-10.2, 9.0))
        assert color_of('off white') == (0.0, 0.0)

    @pytest.mark.parametrize('name', ['snow', 'tomato', 'no red bus', 'bright', 'table', 'ish'])
    def test_things_are_none(self, name):
        assert color_of(name) is None

    def test_those_of_screens_get_the_chroma_of_things(self):
        a, b = color_of('dark red')
        assert 25 < (a * a + b * b) ** 0.5 < 45
        assert a > b > 0


class TestNouns:
    def test_all_classes_of_coco_have_a_noun(self):
        assert all(name in NOUNS[name].classes for name in COCO_CLASSES if name != 'orange')
        assert {name for thing in NOUNS.values() for name in thing.classes} == set(COCO_CLASSES)

    def test_parts_of_persons_are_known(self):
        assert {thing.part for thing in NOUNS.values()} - {None} == PARTS.keys()

    @pytest.mark.parametrize(
        ('word', 'expected'),
        [
            ('buses', ('bus', True)),
            ('bus', ('bus', False)),
            ('puppies', ('puppy', True)),
            ('wine glasses', ('wine glass', True)),
            ('women', ('woman', True)),
            ('cattle', ('cattle', True)),
            ('people', ('person', True)),
            ('teddy bears', ('teddy bear', True)),
            ('quux', None),
        ],
    )
    def test_singular(self, word, expected):
        assert singular(word) == expected
