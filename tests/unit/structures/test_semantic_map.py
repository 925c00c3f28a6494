import numpy as np
import pytest

from insta_colorization.structures import (
    CLASS_COLOURS,
    SEMANTIC_CLASSES,
    UNKNOWN,
    SemanticMap,
    check_classes,
    coco_panoptic_table,
    resize_map,
)


class TestLabels:
    def test_names(self):
        assert len(SEMANTIC_CLASSES) == len(set(SEMANTIC_CLASSES)) == 60
        numbers = {10: 'cow', 20: 'tvmonitor', 30: 'cup', 40: 'mountain', 50: 'sky', 56: 'wall', 59: 'wood'}
        assert {number: SEMANTIC_CLASSES[number] for number in numbers} == numbers

    def test_colours_are_vocs(self):
        # From VOC's development kit.
        known = {0: (0, 0, 0), 1: (128, 0, 0), 7: (128, 128, 128), 15: (192, 128, 128), 20: (0, 64, 128)}
        known |= {50: (0, 192, 64)}
        assert {number: tuple(CLASS_COLOURS[number].tolist()) for number in known} == known
        assert len(np.unique(CLASS_COLOURS, axis=0)) == 60

    @pytest.mark.parametrize(
        ('category', 'name'),
        [(1, 'person'), (56, 'food'), (184, 'tree'), (187, 'sky'), (189, 'diningtable'), (177, 'wall'), (199, 'wall')],
    )
    def test_coco_panoptic(self, category, name):
        assert SEMANTIC_CLASSES[coco_panoptic_table()[category]] == name

    def test_what_coco_panoptic_does_not_say(self):
        table = coco_panoptic_table()

        assert (table[0], table[22]) == (UNKNOWN, 0)  # unlabelled, and the elephant, which has no class
        assert set(range(60)) - set(table[1:].tolist()) == {SEMANTIC_CLASSES.index(name) for name in ('plate', 'wood')}


class TestResize:
    def test_a_class_is_that_at_the_centre(self):
        ids = np.arange(5, dtype=np.uint8)[None]

        assert resize_map(ids, (1, 3)).tolist() == [[0, 2, 4]]
        assert resize_map(ids, (2, 10)).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]] * 2

    @pytest.mark.parametrize('size', [(32, 32), (33, 47), (100, 64), (1000, 35)])
    def test_enlarged_and_back_it_is_what_it_was(self, size):
        ids = np.random.default_rng(0).integers(0, 60, (32, 32), np.uint8)

        np.testing.assert_array_equal(resize_map(resize_map(ids, size), (32, 32)), ids)

    @pytest.mark.parametrize('size', [(1, 1), (1, 500)])
    def test_to_and_from_a_line(self, size):
        assert resize_map(np.ones(size, np.uint8), (8, 8)).tolist() == [[1] * 8] * 8


def test_a_map_moves_with_its_photo():
    field = SemanticMap(np.arange(12, dtype=np.uint8).reshape(3, 4))

    assert field.crop(slice(1, 3), slice(0, 2)).ids.tolist() == [[4, 5], [8, 9]]
    assert field.flip().ids[0].tolist() == [3, 2, 1, 0]
    assert field.resize((6, 8)).ids.shape == (6, 8)


@pytest.mark.parametrize(
    ('ids', 'message'),
    [
        (np.zeros((2, 3)), r'must be \(H, W\) integers, but is float64 of shape \(2, 3\)'),
        (np.zeros((2, 3, 3), np.uint8), r'but is uint8 of shape \(2, 3, 3\)'),
        (np.zeros((0, 3), np.uint8), r'but is uint8 of shape \(0, 3\)'),
        (np.array([[0, 1], [2, 77]]), r'must have the classes 0\.\.59, but has 77 at x 1, y 1'),
        (np.array([[0, -1]]), r'but has -1 at x 1, y 0'),
    ],
    ids=['float', 'RGB', 'empty', 'beyond', 'negative'],
)
def test_what_is_no_map(ids, message):
    with pytest.raises(ValueError, match=message):
        check_classes(ids)
