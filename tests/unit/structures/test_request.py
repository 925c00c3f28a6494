import numpy as np
import pytest

from insta_colorization.structures import Hint, Instances, Request


class TestHint:
    @pytest.mark.parametrize(
        ('at', 'radius', 'box'),
        [
            pytest.param((10.7, 20.2), 2, (8, 18, 13, 23), id='inside'),
            pytest.param((10, 20), 0, (10, 20, 11, 21), id='one pixel'),
            pytest.param((1, 0), 2, (0, 0, 4, 3), id='cut at the corner'),
        ],
    )
    def test_at_a_point(self, at, radius, box):
        assert Hint.at(*at, ab=(20.0, -10.0), radius=radius).box == box

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            pytest.param({'ab': (float('nan'), 0)}, r'two finite numbers a and b, but got \(nan, 0\)', id='nan'),
            pytest.param({'ab': (1.0,)}, r'but got \(1\.0,\)', id='one number'),
            pytest.param({'box': (0, 0, 2.5, 3)}, r'whole pixels, but got \(0, 0, 2\.5, 3\)', id='part of a pixel'),
            pytest.param({'box': (5, 0, 5, 3)}, r'must have an area .* \(5, 0, 5, 3\)', id='no area'),
            pytest.param({'box': (-1, 0, 5, 3)}, r'inside the photo, but got \(-1, 0', id='outside'),
            pytest.param(
                {'certainty': 0}, 'certainty of a hint must lie in 0..1 and not be 0, but got 0', id='certainty'
            ),
            pytest.param({'strict': 0}, 'strictness of a hint must lie in 0..1 and not be 0, but got 0', id='strict'),
            pytest.param({'mask': np.ones((3, 4), bool)}, r'its box, \(4, 3\), but got \(3, 4\)', id='mask'),
        ],
    )
    def test_bad_input(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Hint(**{'ab': (0.0, 0.0), 'box': (0, 0, 3, 4), **arguments})


class TestRequest:
    def test_wishes_are_what_it_says_beside_instances(self):
        assert Request(Instances.empty((4, 5))).wishes == frozenset()
        full = Request(None, (Hint.at(1, 1, (0, 0)),), np.zeros((4, 5), np.int64), 'a red hat')
        assert full.wishes == {'hints', 'map', 'caption'}
        full.check_size((4, 5))

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            pytest.param({'instances': Instances.empty([[4, 5]] * 2)}, 'one photo, but got .* 2', id='two photos'),
            pytest.param({'map': np.zeros((4, 5))}, r'float64 of shape \(4, 5\)', id='map of floats'),
            pytest.param({'map': np.zeros((4, 5, 3), int)}, r'of shape \(4, 5, 3\)', id='map with channels'),
            pytest.param({'caption': ' '}, "must have words, but got ' '", id='blank caption'),
            pytest.param({'caption': '.;!'}, "must have words, but got '.;!'", id='punctuation'),
        ],
    )
    def test_bad_input(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Request(**arguments)

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            pytest.param(
                {'instances': Instances.empty((5, 4))}, r'size \(5, 4\), but the photo has \(4, 5\)', id='instances'
            ),
            pytest.param({'map': np.zeros((8, 10), int)}, r'map has size \(8, 10\), .* \(4, 5\)', id='map'),
            pytest.param({'hints': (Hint.at(9, 0, (0, 0)),)}, r'\(7, 0, 12, 3\) lies outside', id='hint'),
        ],
    )
    def test_of_another_size_than_the_photo_is_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Request(**arguments).check_size((4, 5))
