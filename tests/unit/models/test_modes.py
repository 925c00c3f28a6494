import pytest
import torch

from insta_colorization.colorspace import BinSet
from insta_colorization.models.modes import find_modes

CENTRES = BinSet().centres


def index(a: int, b: int) -> int:
    return 23 * (a // 10 + 11) + b // 10 + 11


def test_modes_are_distinct_and_share_the_distribution():
    shares = torch.zeros(529)
    for (a, b), share in {(60, 40): 0.3, (60, 50): 0.1, (0, 0): 0.25, (-40, 30): 0.2, (-50, 30): 0.15}.items():
        shares[index(a, b)] = share

    modes = find_modes(shares, CENTRES, 5)

    assert [round(mode.share, 4) for mode in modes] == [0.4, 0.35, 0.25]
    colours = [[round(110 * value, 1) for value in mode.ab] for mode in modes]
    assert colours == [[60, 42.5], [-44.3, 30], [0, 0]]
    assert find_modes(shares, CENTRES, 2) == modes[:2]


@pytest.mark.parametrize('count', [1, 5])
def test_a_flat_distribution(count):
    modes = find_modes(torch.full((529,), 1 / 529), CENTRES, count)

    assert len(modes) == count
    assert sum(mode.share for mode in modes) <= 1
