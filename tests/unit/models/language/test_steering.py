import json

import numpy as np
import pytest
import torch

from insta_colorization.models.language import steer
from insta_colorization.models.language.colors import color_of
from insta_colorization.structures import COCO_CLASSES, Instances

SIZE = (100, 200)
GRAY = np.full((*SIZE, 3), 119, np.uint8)  # L 50


def scene(**boxes: list[list[float]]) -> Instances:
    """Objects by the names of their classes, whose spaces are underscores, with masks of everything but the edge."""
    labels = [COCO_CLASSES.index(name.replace('_', ' ')) for name, own in boxes.items() for _ in own]
    found = Instances([box for own in boxes.values() for box in own], SIZE, labels=labels)
    masks = [torch.zeros(SIZE, dtype=torch.bool) for _ in labels]
    for mask, (x0, y0, x1, y1) in zip(masks, found.in_pixels().tolist(), strict=True):
        mask[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = True
    return found.with_masks(masks)


SMALL, LARGE, RIGHT = [10, 10, 30, 30], [50, 20, 110, 90], [140, 10, 180, 50]


def objects(caption: str, instances: Instances) -> list[list[int]]:
    return [entry['objects'] for entry in steer(caption, GRAY, instances).record['used']]


def reasons(caption: str, instances: Instances) -> list[str]:
    return [entry['reason'] for entry in steer(caption, GRAY, instances).record['not_understood']]


@pytest.mark.parametrize(
    ('caption', 'expected'),
    [
        ('a red bus', [[1]]),
        ('the red buses', [[0, 1, 2]]),
        ('two red buses', [[1, 2]]),
        ('the left bus is red', [[0]]),
        ('a red bus on the right', [[2]]),
        ('the middle bus is red', [[1]]),
        ('the smallest bus is red', [[0]]),
        ('the two biggest buses are red', [[1, 2]]),
        ('the second bus is red', [[1]]),
        ('the last bus is red', [[2]]),
        ('a red bus, a blue bus and a green bus', [[1], [2], [0]]),
        ('a bus. the bus is red', [[1]]),
        ('a red coach', [[1]]),
        ('a red ten speed bus', [[1]]),
        ('a five car red train', [[1]]),  # which detectors take for a bus
    ],
)
def test_which_objects_get_a_colour(caption, expected):
    assert objects(caption, scene(bus=[SMALL, LARGE, RIGHT])) == expected


@pytest.mark.parametrize(
    ('caption', 'reason'),
    [
        ('a red car', 'the photo has no car'),
        ('a red bus and a blue bus', 'the photo has no other bus'),
        ('a red bus. the bus is blue', "it contradicts 'red bus'"),
        ('the red bus and the blue bus', "it contradicts 'red bus'"),
        ('a red train beside a bus', 'the photo has no train'),
        ('a red door', 'no detector finds a door'),
        ('a red blue bus', 'it contradicts itself: red and blue'),
        ('no red bus', 'it is negated'),
        ('a man in red', 'the photo has no person'),
    ],
)
def test_what_is_not_understood_says_why(caption, reason):
    assert reasons(caption, scene(bus=[LARGE])) == [reason]


def test_of_two_that_a_detector_sees_it_is_the_surer_one():
    boxes = [[10, 10, 60, 60], [50, 10, 95, 60]]
    found = Instances(boxes, SIZE, scores=[0.3, 0.7], labels=[0, 0])

    assert objects('a man in red', found) == [[1]]
    assert objects('the biggest man is red', found) == [[0]]


def test_a_bus_without_labels_is_none():
    assert reasons('a red bus', Instances([LARGE], SIZE)) == ['the photo has no bus']


def test_a_class_of_another_detector_is_found_by_its_name():
    instances = Instances([SMALL, LARGE], SIZE, labels=[0, 1], classes=('goblin', 'door'))

    assert objects('a green door', instances) == [[1]]


def test_the_colour_lies_in_the_mask():
    steering = steer('a red bus', GRAY, scene(bus=[SMALL, LARGE]))

    (hint,) = steering.hints
    assert hint.box == tuple(LARGE)
    assert hint.mask[1:-1, 1:-1].all()
    assert not hint.mask[0].any()
    assert hint.strict == 1
    assert hint.ab == pytest.approx(color_of('red'), abs=0.1)
    assert steering.words == {1: 'red bus'}


def test_without_a_mask_an_outline_is_searched_and_a_photo_that_is_all_object_has_an_ellipse():
    box = [0, 0, 200, 100]
    (hint,) = steer('a red bus', GRAY, Instances([box], SIZE, labels=[5])).hints

    assert 0.7 < hint.mask.mean() < 0.85
    assert hint.mask[50, 100]


def test_a_colour_that_srgb_does_not_have_there_is_less_colourful():
    dark = np.full((*SIZE, 3), 20, np.uint8)

    (hint,) = steer('a yellow bus', dark, scene(bus=[LARGE])).hints

    assert np.hypot(*hint.ab) < 25


def test_two_buses_of_two_colours():
    steering = steer('two buses, red and blue', GRAY, scene(bus=[RIGHT, SMALL]))

    assert [hint.box for hint in steering.hints] == [tuple(SMALL), tuple(RIGHT)]
    assert steering.hints[0].ab[0] > 20 > steering.hints[1].ab[0]


class TestGarments:
    PERSON, WIDE = [20, 0, 60, 100], [80, 0, 180, 100]

    @pytest.mark.parametrize(
        ('caption', 'top', 'bottom'),
        [
            ('a man in a red shirt', 16, 52),
            ('a man in red', 16, 93),
            ("the man's red hat", 0, 10),
            ('red pants', 50, 93),
        ],
    )
    def test_cover_a_part_of_their_person(self, caption, top, bottom):
        (hint,) = steer(caption, GRAY, scene(person=[self.PERSON])).hints

        assert hint.box == (20, top, 60, bottom)

    def test_of_one_who_crouches(self):
        (hint,) = steer('a man in a red shirt', GRAY, scene(person=[[80, 0, 140, 80]])).hints

        assert hint.box == (80, 19, 140, 50)

    def test_that_the_photo_does_not_show(self):
        assert reasons('a man in red pants', scene(person=[self.WIDE])) == ['the photo does not show that part of it']

    def test_two_of_one_person_do_not_contradict_each_other(self):
        instances = scene(person=[self.PERSON])

        assert objects('a man in a red shirt and white pants', instances) == [[0], [0]]
        assert reasons('a man in a red shirt; his shirt is blue', instances) == ["it contradicts 'red shirt'"]

    def test_of_two_persons(self):
        caption = 'a woman in a red shirt and a man in a blue shirt'

        assert objects(caption, scene(person=[self.PERSON, self.WIDE])) == [[1], [0]]


class TestSurroundings:
    def test_get_a_part_of_the_colour_outside_the_objects(self):
        steering = steer('a red bus under a blue sky', GRAY, scene(bus=[LARGE]))

        sky, bus = steering.hints
        assert sky.box == (0, 0, 200, 50)
        assert sky.strict == 0.25
        assert not sky.mask[20:, 50:110].any()
        assert sky.mask[:20].all()
        assert bus.box == tuple(LARGE)

    def test_that_objects_hide(self):
        assert reasons('a blue sky', scene(bus=[[0, 0, 200, 100]])) == ['the photo does not show that part of it']


def test_the_same_caption_gives_the_same_and_its_record_is_json():
    caption, instances = 'a red bus, two blue zebras, a mauve quux and a dog', scene(bus=[LARGE])

    first, second = (steer(caption, GRAY, instances) for _ in range(2))

    assert json.dumps(first.record) == json.dumps(second.record)
    assert first.record | {'used': None} == {
        'text': caption,
        'used': None,
        'not_understood': [
            {'words': 'blue zebras', 'reason': 'the photo has no zebra'},
            {'words': 'mauve quux', 'reason': "'quux' is no known noun"},
        ],
        'plain': ['dog'],
        'unknown': ['quux'],
    }
    (used,) = first.record['used']
    assert (used['words'], used['color'], used['objects']) == ('red bus', ['red'], [0])


def test_sixteen_bits():
    deep = GRAY.astype(np.uint16) * 257

    assert steer('a red bus', deep, scene(bus=[LARGE])).hints[0].ab == pytest.approx(color_of('red'), abs=0.1)
