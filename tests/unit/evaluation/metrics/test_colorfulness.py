import pytest
import torch

from insta_colorization.evaluation.metrics import Colorfulness, colorfulness


def test_known_photos():
    # Hasler and Suesstrunk 2003, M3 = spread + 0.3 offset of rg = R - G and yb = (R + G) / 2 - B.
    flat_grey = torch.full((3, 4, 4), 90, dtype=torch.uint8)
    half_red_half_green = torch.zeros(3, 4, 4, dtype=torch.uint8)
    half_red_half_green[0, :, :2] = half_red_half_green[1, :, 2:] = 255
    all_blue = torch.zeros(3, 4, 4, dtype=torch.uint8)
    all_blue[2] = 255

    assert colorfulness(flat_grey) == 0
    assert colorfulness(half_red_half_green) == pytest.approx(255 + 0.3 * 127.5)
    assert colorfulness(all_blue) == pytest.approx(0.3 * 255)


def test_the_two_differences_differ():
    # One photo too colourful by 10, one too pale by 4: on average 7 away, but only 3 apart on average.
    values = [{'CF': 30.0, 'CF_truth': 20.0}, {'CF': 16.0, 'CF_truth': 20.0}]

    assert Colorfulness().summarize(values) == {
        'CF': 23,
        'CF_truth': 20,
        'dCF_mean_of_differences': 7,
        'dCF_difference_of_means': 3,
    }


def test_prediction_and_truth_are_not_swapped():
    grey, blue = torch.full((3, 4, 4), 90, dtype=torch.uint8), torch.zeros(3, 4, 4, dtype=torch.uint8)
    blue[2] = 255

    assert Colorfulness().measure(grey, blue) == {'CF': pytest.approx(76.5), 'CF_truth': 0}
