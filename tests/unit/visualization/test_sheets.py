import numpy as np
import pytest
import torch

from insta_colorization.structures import Instances
from insta_colorization.visualization.sheets import MOST_MAPS, fusion_sheet, sheet


def gray_photo(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def coloured_pixels(image: np.ndarray) -> int:
    return int((image.max(axis=2) != image.min(axis=2)).sum())


class TestSheet:
    def test_shows_grey_colour_and_boxes_side_by_side(self):
        gray, green = gray_photo(60, 80), np.full((60, 80, 3), (0, 200, 0), np.uint8)
        instances = Instances([[10, 10, 60, 50]], (60, 80), [0.5])

        left, middle, right = np.array_split(sheet(gray, green, instances)[-60:], 3, axis=1)

        assert (left[:, :80] == 90).all()
        assert (middle[:, 6:80] == (0, 200, 0)).all()
        outline, inside = right[-50:, -70:-20], right[-30, -45]
        assert coloured_pixels(outline) > 0
        assert (inside == 90).all()

    def test_words_in_the_place_of_a_score(self):
        instances = Instances([[10, 10, 60, 50]] * 2, (60, 80), [0.5, 0.5])
        photo = gray_photo(60, 80)

        plain, told = (sheet(photo, photo, instances, words=words) for words in ({}, {1: 'red bus'}))

        assert (plain != told).any()
        assert (plain == sheet(photo, photo, instances)).all()

    def test_nothing_found_draws_nothing(self):
        assert coloured_pixels(sheet(gray_photo(60, 80), gray_photo(60, 80), Instances.empty((60, 80)))) == 0

    @pytest.mark.parametrize('size', [(1, 1), (40, 12000), (12000, 40), (700, 900)])
    def test_photos_of_any_shape(self, size):
        instances = Instances([[0, 0, size[1], size[0]]] * 2, size)

        image = sheet(gray_photo(*size), gray_photo(256, 256), instances)

        assert image.dtype == np.uint8
        assert image.shape[0] <= 512 + 30
        assert image.shape[1] <= 3 * 512 + 12


class TestFusionSheet:
    def test_bright_where_the_share_is_one_and_dark_where_it_is_none(self):
        instances = Instances([[0, 0, 64, 128]], (128, 128))
        share = torch.zeros(8, 8)
        share[:, :4] = 1

        image = fusion_sheet(gray_photo(128, 128), instances, {'conv3': (1 - share, share[None])})

        assert image.shape == (128 + 22, 3 * 128 + 2 * 6, 3)
        whole, instance = image[22:, 134:262].mean(axis=2), image[22:, 268:].mean(axis=2)
        assert whole[:, :60].max() < whole[:, 68:].min()
        assert instance[:, :60].min() > instance[:, 68:].max()

    def test_a_line_a_row(self):
        share = torch.rand(4, 4)
        shares = dict.fromkeys(('conv3', 'conv7', 'conv10'), (share, share[None]))

        image = fusion_sheet(gray_photo(20, 30), Instances([[0, 0, 9, 9]], (20, 30)), shares)

        assert image.shape[0] == 3 * (20 + 22)

    def test_five_hundred_instances_make_no_endless_sheet(self):
        instances = Instances([[0, 0, 20, 20]] * 500, (20, 20))
        shares = {'conv1': (torch.rand(8, 8), torch.rand(500, 8, 8))}

        image = fusion_sheet(gray_photo(20, 20), instances, shares)

        assert image.shape[1] == (2 + MOST_MAPS) * (20 + 6) - 6
