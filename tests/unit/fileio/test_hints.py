import json

import numpy as np
import pytest
import torch
from PIL import ImageColor
from skimage.color import lab2rgb, rgb2lab

from insta_colorization.fileio.hints import HintFile, Wish, parse_color, place_hints
from insta_colorization.structures import Instances

SIZE = (20, 30)
GRAY = np.full((*SIZE, 3), 119, np.uint8)  # L 50
BOXES = [[2.0, 3.0, 12.0, 13.0], [10.0, 0.0, 30.0, 20.0]]


@pytest.fixture
def write(tmp_path):
    def write(content) -> HintFile:
        path = tmp_path / 'hints.json'
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return HintFile(path)

    return write


def placed(*entries: dict, pixels: np.ndarray = GRAY, instances: Instances | None = None):
    return place_hints(
        [Wish.parse(e) for e in entries], pixels, Instances(BOXES, SIZE) if instances is None else instances
    )


class TestColors:
    @pytest.mark.parametrize('color', ['red', 'Dark Green', '#3366cc', '#36c', 'rgb(10, 20, 30)'])
    def test_are_those_of_css(self, color):
        rgb = np.array(ImageColor.getrgb(color.replace(' ', '') if ' G' in color else color)[:3]) / 255
        np.testing.assert_allclose(parse_color(color), rgb2lab(rgb)[1:], atol=1e-3)

    @pytest.mark.parametrize('color', ['grey', 'gray', 'silver', 'black', 'WHITE', '#808080'])
    def test_grey_is_no_colour(self, color):
        assert parse_color(color) == (0.0, 0.0)

    def test_ab_as_it_is(self):
        assert parse_color([20, -10.5]) == (20.0, -10.5)

    @pytest.mark.parametrize(
        ('color', 'message'),
        [
            pytest.param('turqoise', "no colour 'turqoise'; close names are turquoise", id='nearly'),
            pytest.param('#12', "no colour '#12'; names are those of CSS", id='short hex'),
            pytest.param(None, 'no colour None', id='none'),
            pytest.param([1, 2, 3], r'must be \[a, b\], but got \[1, 2, 3\]', id='three numbers'),
            pytest.param([1, float('nan')], r'must be \[a, b\], but got \[1, nan\]', id='nan'),
        ],
    )
    def test_unknown_ones(self, color, message):
        with pytest.raises(ValueError, match=message):
            parse_color(color)


class TestPlaces:
    def test_points_boxes_and_objects(self):
        point, box, thing = placed(
            {'point': [0.5, 19], 'color': [1, 2]},
            {'box': [4.5, 5, 40, 9.2], 'color': [3, 4]},
            {'object': 1, 'color': [5, 6]},
        )

        assert (point.box, point.certainty) == ((0, 17, 3, 20), 1.0)
        assert (box.box, box.certainty) == ((4, 5, 30, 10), 0.5)
        assert (thing.box, thing.certainty) == ((10, 0, 30, 20), 0.5)
        assert [hint.ab for hint in (point, box, thing)] == [(1, 2), (3, 4), (5, 6)]

    @pytest.mark.parametrize('unknown', [0, 1])
    def test_objects_with_masks(self, unknown):
        masks = torch.full((2, *SIZE), unknown)
        masks[0] = 0
        masks[0, 5:8, 4:6] = 1

        inside, whole = placed(
            {'object': 0, 'color': 'red'},
            {'object': 1, 'color': 'red'},
            instances=Instances(BOXES, SIZE).with_masks(masks),
        )

        assert inside.mask.sum() == 6
        assert whole.mask is None  # an empty mask says nothing, and a full one no more than the box

    def test_colours_can_be_had_at_the_lightness_of_their_place(self):
        pixels = GRAY.copy()
        pixels[:, 15:] = 30

        (light, dark) = placed(
            {'box': [0, 0, 15, 20], 'color': 'yellow'}, {'box': [15, 0, 30, 20], 'color': 'yellow'}, pixels=pixels
        )

        for hint, gray in ((light, 119), (dark, 30)):
            lab = np.array([rgb2lab(np.full(3, gray / 255))[0], *hint.ab])
            assert rgb2lab(lab2rgb(lab)) == pytest.approx(lab, abs=0.3)  # nothing is clipped
            assert np.arctan2(*hint.ab) == pytest.approx(np.arctan2(*parse_color('yellow')), abs=1e-3)
        assert np.hypot(*dark.ab) < np.hypot(*light.ab) < np.hypot(*parse_color('yellow'))

    def test_later_ones_lie_on_top_and_repeated_ones_count_once(self):
        hints = placed(
            {'object': 0, 'color': 'red'}, {'box': [0, 0, 9, 9], 'color': 'blue'}, {'object': 0, 'color': '#f00'}
        )

        assert [hint.box for hint in hints] == [(0, 0, 9, 9), (2, 3, 12, 13)]

    @pytest.mark.parametrize(
        ('entries', 'message'),
        [
            pytest.param(
                [{'point': [30, 5], 'color': 'red'}], r'point \(30, 5\) lies outside .* 30 and height 20', id='x'
            ),
            pytest.param([{'point': [5, 20], 'color': 'red'}], r'point \(5, 20\) lies outside', id='y'),
            pytest.param([{'box': [31, 0, 40, 9], 'color': 'red'}], r'box \(31, 0, 40, 9\) lies outside', id='box'),
            pytest.param(
                [{'object': 2, 'color': 'red'}], 'for object 2, but the photo has 2, numbered from 0', id='object'
            ),
            pytest.param(
                [{'object': 0, 'color': 'red'}, {'point': [1, 1], 'color': 'red'}, {'object': 0, 'color': 'blue'}],
                'contradict each other: object 0 shall be red and blue',
                id='contradiction',
            ),
        ],
    )
    def test_that_cannot_be_met(self, entries, message):
        with pytest.raises(ValueError, match=message):
            placed(*entries)

    def test_of_a_photo_without_objects(self):
        with pytest.raises(ValueError, match='for object 0, but the photo has none'):
            placed({'object': 0, 'color': 'red'}, instances=Instances.empty(SIZE))


class TestFiles:
    def test_a_list_is_for_the_one_photo(self, write):
        hints = write([{'object': 0, 'color': 'red'}])

        hints.check(['any.jpg'])
        (wish,) = hints.of('any.jpg')
        assert (str(wish), wish.color) == ('object 0', 'red')
        with pytest.raises(ValueError, match='list of hints for one photo, but there are 2'):
            hints.check(['a.jpg', 'b.jpg'])

    def test_photos_by_name_and_by_path(self, write, caplog):
        entry = {'point': [1, 2], 'color': 'red'}
        hints = write({'a.jpg': [entry], 'one/b.jpg': [entry, {**entry, 'point': [3, 4]}]})

        hints.check(['x/a.jpg', 'x/one/b.jpg', 'x/two/b.jpg'])

        assert [len(hints.of(f'/x/{name}')) for name in ('a.jpg', 'one/b.jpg', 'two/b.jpg')] == [1, 2, 0]
        assert 'has hints for 2 of the 3 photos' in caplog.text

    def test_of_other_photos(self, write):
        with pytest.raises(ValueError, match=r'for 1 photos \(a\.jpg\), but not for any of the 1 .* such as b\.jpg'):
            write({'a.jpg': []}).check(['b.jpg'])

    @pytest.mark.parametrize(
        ('content', 'message'),
        [
            pytest.param('[{', 'is not JSON', id='no JSON'),
            pytest.param('[' * 100_000, 'is not JSON', id='too deep'),
            pytest.param('7', 'must have a list of hints or', id='number'),
            pytest.param({'a.jpg': {}}, 'must have a list of hints or', id='no list'),
            pytest.param([7], 'hint 0: a hint must be an object such as .* but got 7', id='no object'),
            pytest.param([{'color': 'red'}], 'hint 0: .* one of point, box, object, but has color', id='no place'),
            pytest.param(
                [{'point': [1, 2], 'object': 0, 'color': 'red'}], 'but has point, object, color', id='two places'
            ),
            pytest.param([{'object': 0, 'colour': 'red'}], 'but has object, colour', id='spelling'),
            pytest.param(
                [{'point': [1], 'color': 'red'}], r'`point` must be 2 numbers, but got \[1\]', id='one number'
            ),
            pytest.param([{'object': 'cat', 'color': 'red'}], "`object` must be a number, but got 'cat'", id='name'),
            pytest.param([{'object': 1.5, 'color': 'red'}], 'whole number from 0, but got 1.5', id='half'),
            pytest.param([{'point': [-1, 4], 'color': 'red'}], r'inside the photo, but got \[-1, 4\]', id='negative'),
            pytest.param(
                [{'box': [5, 5, 2, 9], 'color': 'red'}], r'area inside the photo, but got \[5, 5, 2, 9\]', id='box'
            ),
            pytest.param(
                {'a.jpg': [{'object': 0, 'color': 'rot'}]}, "photo a.jpg, hint 0: there is no colour 'rot'", id='name'
            ),
        ],
    )
    def test_that_cannot_be_used(self, write, content, message):
        with pytest.raises(ValueError, match=message):
            write(content)

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'no file of hints .*none\.json'):
            HintFile(tmp_path / 'none.json')
