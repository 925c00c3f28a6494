import numpy as np
import torch

from insta_colorization.imaging.following import follow_hints
from insta_colorization.structures import Hint

SIZE = (128, 256)


def test_the_mean_of_a_thing_becomes_its_hints_and_its_detail_stays():
    ab = 0.1 * torch.rand(2, 128, 128, generator=torch.Generator().manual_seed(0))
    mask = np.zeros((64, 80), bool)
    mask[10:50, 20:70] = True
    hint = Hint((30.0, -20.0), (40, 20, 120, 84), mask)

    followed = follow_hints(ab, [hint], SIZE)

    thing = (slice(None), slice(32, 68), slice(32, 53))
    whole = (slice(None), slice(30, 70), slice(30, 55))
    torch.testing.assert_close(110 * followed[whole].mean(dim=(1, 2)), torch.tensor([30.0, -20.0]), atol=0.01, rtol=0)
    moved = (followed - ab)[thing]
    assert moved.std(dim=(1, 2)).max() < 1e-5
    far = torch.ones(128, 128, dtype=torch.bool)
    far[26:74, 26:59] = False
    assert torch.equal(followed[:, far], ab[:, far])


def test_what_becomes_white_gets_no_colour_opposite_to_its_detail():
    ab = torch.zeros(2, 64, 64)
    ab[:, 16:48, 16:32], ab[:, 16:48, 32:48] = 0.1, 0.3  # cream, and berries

    white, pale = (follow_hints(ab, [Hint((c, c), (64, 32, 192, 96))], SIZE) for c in (0.0, 11.0))

    inside = (slice(None), slice(20, 44), slice(20, 44))
    assert white[inside].abs().max() < 0.01
    torch.testing.assert_close(110 * pale[inside].mean(), torch.tensor(11.0), atol=1, rtol=0)
    assert pale[inside].min() > 0.04


def test_later_things_lie_on_top_and_points_are_left_to_the_networks():
    ab = torch.zeros(2, 64, 64)
    hints = [Hint((30.0, 0.0), (0, 0, 256, 128)), Hint((-30.0, 0.0), (64, 32, 192, 96)), Hint.at(10, 10, (0.0, 50.0))]

    followed = 110 * follow_hints(ab, hints, SIZE)

    assert abs(followed[0, 32, 32].item() + 30) < 3
    assert not followed[1].any()


def test_a_part_of_the_way():
    hint = Hint((40.0, 0.0), (0, 0, 256, 128), strict=0.25)

    followed = 110 * follow_hints(torch.zeros(2, 64, 64), [hint], SIZE)

    torch.testing.assert_close(followed[0].mean(), torch.tensor(10.0))


def test_an_edge_of_the_photo_and_a_single_cell():
    followed = follow_hints(torch.zeros(2, 16, 16), [Hint((30.0, 0.0), (250, 120, 256, 128))], SIZE)

    assert (110 * followed[0, 15, 15] - 30).abs() < 1e-4
