"""Captions beside photos, the same with other colours, and lightness of other colours."""

import json

import numpy as np
import pytest
import torch

from insta_colorization.colorspace import rgb_to_lab
from insta_colorization.datasets import LoadCaption, LoadCaptions, LuminanceJitter, SwapColors
from insta_colorization.models.language.colors import color_of

TEXTS = ['A red bus.', 'a bus at a stop', 'the bus is dark red']


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'captions.json'
    path.write_text(json.dumps({'a.png': TEXTS}))
    return str(path)


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


class TestLoadCaption:
    def test_one_of_a_photos_captions(self, file):
        found = {LoadCaption(file).transform({'img_path': 'photos/a.png'})['caption'] for _ in range(30)}

        assert found == set(TEXTS)
        assert LoadCaption(file, which='first').transform({'img_path': 'a.png'})['caption'] == TEXTS[0]
        assert LoadCaptions(file).transform({'img_path': 'a.png'})['captions'] == tuple(TEXTS)

    def test_csv_and_pairs_are_taken_too(self, tmp_path):
        (tmp_path / 'a.csv').write_text('photo,caption\na.png,a red bus\n')
        (tmp_path / 'a.json').write_text(json.dumps([['a.png', 'a red bus']]))

        for name in ('a.csv', 'a.json'):
            assert LoadCaption(str(tmp_path / name)).transform({'img_path': 'x/a.png'})['caption'] == 'a red bus'

    def test_a_photo_without_a_caption(self, file):
        results = {'img_path': 'b.png'}

        assert LoadCaption(file).transform(results) is None
        assert results['skipped'] == f'b.png has no caption in {file}'
        assert LoadCaption(file, required=False).transform({'img_path': 'b.png'})['caption'] == ''
        assert LoadCaptions(file).transform({'img_path': 'b.png'})['captions'] == ()

    def test_bad_settings(self, file, tmp_path):
        with pytest.raises(ValueError, match="which must be one of random, first, but got 'last'"):
            LoadCaption(file, which='last')
        with pytest.raises(FileNotFoundError, match='no file of captions'):
            LoadCaption(str(tmp_path / 'none.json'))


class TestSwapColors:
    def test_colours_become_others(self):
        found = [SwapColors().transform({'img_path': 'a.png', 'caption': TEXTS[0]}) for _ in range(40)]

        assert len({results['counter_caption'] for results in found}) > 4
        assert not any('red' in results['counter_caption'] for results in found)
        assert all(results['named_colors'] == [color_of('red')] for results in found)

    def test_a_caption_without_colours_is_left_alone(self):
        assert SwapColors().transform({'img_path': 'a.png', 'caption': TEXTS[1]}).keys() == {'img_path', 'caption'}

    def test_a_file_says_which_words_are_colours(self, file, tmp_path):
        (tmp_path / 'pairs.json').write_text(json.dumps({'a.png': [[], [], [[2, 5]]]}))
        swap = SwapColors(file, str(tmp_path / 'pairs.json'))

        assert 'counter_caption' not in swap.transform({'img_path': 'a.png', 'caption': TEXTS[0]})
        assert swap.transform({'img_path': 'a.png', 'caption': TEXTS[2]})['counter_caption'].startswith(
            'the bus is dark '
        )

    def test_pairs_without_captions(self):
        with pytest.raises(ValueError, match=r'captions and pairs are given together, but got None and a\.json'):
            SwapColors(pairs='a.json')


class TestLuminanceJitter:
    PHOTO = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)

    def lightness(self, gray: np.ndarray) -> torch.Tensor:
        return rgb_to_lab(torch.from_numpy(gray).float().expand(3, -1, -1) / 255)[0]

    def test_otherwise_the_photos_own_lightness(self):
        gray = LuminanceJitter(prob=0).transform({'img': self.PHOTO})['gray']
        own = rgb_to_lab(torch.from_numpy(self.PHOTO).movedim(-1, 0).float() / 255)[0]

        assert gray.dtype == np.uint8
        torch.testing.assert_close(self.lightness(gray), own, atol=0.3, rtol=0)

    def test_the_lightness_of_other_colours(self):
        red = np.full((4, 4, 3), (200, 40, 40), np.uint8)
        grays = [int(LuminanceJitter(prob=1).transform({'img': red})['gray'][0, 0]) for _ in range(20)]

        assert max(grays) - min(grays) > 60
        assert len({int(LuminanceJitter(prob=0.5).transform({'img': red})['gray'][0, 0]) for _ in range(20)}) > 5

    def test_gamma(self):
        still = {'contrast': 0, 'saturation': 0, 'hue': 0}
        gray = np.full((4, 4, 3), 119, np.uint8)  # L 50
        found = {int(LuminanceJitter(1, **still, gamma=5).transform({'img': gray})['gray'][0, 0]) for _ in range(30)}

        assert min(found) < 80
        assert max(found) > 160

    @pytest.mark.parametrize(
        ('settings', 'message'),
        [({'prob': 2}, r'prob must be a share in \[0, 1\], but got 2'), ({'gamma': 0.5}, 'gamma must be at least 1')],
    )
    def test_bad_settings(self, settings, message):
        with pytest.raises(ValueError, match=message):
            LuminanceJitter(**settings)
