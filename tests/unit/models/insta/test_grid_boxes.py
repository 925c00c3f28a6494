"""Boxes on feature grids against the published `get_box_info`, written out with Python's own numbers."""

import pytest

from insta_colorization.structures import Instances


def published_span(start: float, end: float, side: int, size: int) -> list[int]:
    """First and last cell (exclusive) of one axis: int(int(x) / side * size), then at least one cell."""
    first, last = int(int(start) / side * size), int(int(end) / side * size)
    if last - first < 1:
        if size - last > 1:
            last += 1
        else:
            first -= 1
    return [first, last]


@pytest.mark.parametrize('side', [197, 390, 640])
@pytest.mark.parametrize('size', [256, 128, 64, 32, 40, 24])
def test_every_pixel_of_a_side(side, size):
    spans = [(x, min(x + length, side)) for length in (1, 3, 50) for x in range(side)]

    ours = Instances([[x0, x0, x1, x1] for x0, x1 in spans], (side, side)).on_grid((size, size)).tolist()

    for (x0, x1), cells in zip(spans, ours, strict=True):
        first, last = published_span(x0, x1, side, size)
        assert cells == [first, first, last, last], (x0, x1)


def test_boxes_are_floored_to_pixels_first():
    # Pixel 3 of 200 is cell 0.96 of 64; 3.9 would be cell 1.2. Pixel 199 is cell 63.7, and so is 199.9.
    assert Instances([[3.9, 0, 199.9, 200]], (200, 200)).on_grid((64, 64)).tolist() == [[0, 0, 63, 64]]


def test_the_order_of_operations_matters():
    # 197 / 197 * 256 is exactly 256, 197 * (256 / 197) falls short of it: the last cell would be lost.
    assert int(197 * (256 / 197)) == 255
    assert Instances([[0, 0, 197, 197]], (197, 197)).on_grid((256, 256)).tolist() == [[0, 0, 256, 256]]


def test_axes_are_not_mixed_up():
    ours = Instances([[10.7, 20.2, 200.9, 90.4]], (100, 390)).on_grid((32, 64)).tolist()

    (x0, x1), (y0, y1) = published_span(10.7, 200.9, 390, 64), published_span(20.2, 90.4, 100, 32)
    assert ours == [[x0, y0, x1, y1]]
