from pathlib import Path

import numpy as np
import pytest
import torch

from insta_colorization.detectors.selection import select
from insta_colorization.structures import Instances

GOLDEN = Path(__file__).resolve().parents[2] / 'golden'
PHOTOS = ['astronaut', 'coffee', 'chelsea']
SIZE = (100, 100)


def instances(*boxes_and_scores):
    boxes = [box for box, _ in boxes_and_scores]
    return Instances(boxes, SIZE, scores=[score for _, score in boxes_and_scores])


SMALL, MEDIUM, LARGE = [0, 0, 10, 10], [0, 0, 30, 30], [0, 0, 90, 90]


# The boxes that the published code itself selected; see tests/golden.
@pytest.mark.parametrize('photo', PHOTOS)
class TestGolden:
    @pytest.fixture
    def golden(self, photo):
        return np.load(GOLDEN / f'insta_{photo}.npz')

    @pytest.fixture
    def selected(self, photo, golden):
        data = pytest.importorskip('skimage.data', reason='the photos come with scikit-image')
        size = getattr(data, photo)().shape[:2]
        return select(Instances.clipped(golden['image_boxes'], size, golden['image_scores']), top_k=8)

    def test_selected_boxes(self, selected, golden):
        assert selected.in_pixels().tolist() == golden['selected_boxes'].tolist()

    @pytest.mark.parametrize('size', [256, 128, 64, 32])
    def test_grid_boxes(self, selected, golden, size):
        expected = golden[f'grid_boxes_{size}'].tolist() if len(golden['selected_boxes']) else []

        assert selected.on_grid((size, size)).tolist() == expected


def test_goldens_cover_no_boxes_and_both_orders():
    counts = [len(np.load(GOLDEN / f'insta_{photo}.npz')['image_boxes']) for photo in PHOTOS]

    assert min(counts) == 0
    assert any(0 < count <= 8 for count in counts)
    assert max(counts) > 8


def test_keeps_everything_in_the_given_order_by_default():
    given = instances((MEDIUM, 0.2), (LARGE, 0.9), (SMALL, 0.1))

    assert select(given).boxes.tolist() == [MEDIUM, LARGE, SMALL]


def test_the_threshold_itself_stays():
    kept = select(instances((SMALL, 0.5), (MEDIUM, 0.25), (LARGE, 0.125)), score_thr=0.25)

    assert kept.scores.tolist() == [0.5, 0.25]


@pytest.mark.parametrize('thin', [pytest.param([0, 0, 9, 80], id='narrow'), pytest.param([0, 0, 80, 9], id='low')])
def test_min_size_looks_at_the_shorter_side(thin):
    assert select(instances((thin, 0.9), (SMALL, 0.1)), min_size=10).boxes.tolist() == [SMALL]


def test_of_equal_boxes_the_best_score_stays():
    kept = select(instances((SMALL, 0.25), (LARGE, 0.5), (SMALL, 0.75), (SMALL, 0.5)))

    assert kept.boxes.tolist() == [LARGE, SMALL]
    assert kept.scores.tolist() == [0.5, 0.75]


def test_duplicates_do_not_use_up_top_k():
    kept = select(instances((SMALL, 0.9), (SMALL, 0.9), (LARGE, 0.5)), top_k=2)

    assert sorted(kept.boxes.tolist()) == [SMALL, LARGE]


def test_top_k_returns_ascending_scores():
    kept = select(instances((LARGE, 0.75), (SMALL, 0.25), (MEDIUM, 0.5)), top_k=2)

    assert kept.scores.tolist() == [0.5, 0.75]


def test_ties_go_to_the_larger_area_then_to_the_first():
    elsewhere = [50, 50, 60, 60]
    without_scores = Instances([MEDIUM, SMALL, elsewhere, LARGE], SIZE)

    assert select(without_scores, top_k=2).boxes.tolist() == [MEDIUM, LARGE]
    assert select(without_scores, top_k=3).boxes.tolist() == [SMALL, MEDIUM, LARGE]


def test_masks_follow_their_boxes():
    masks = torch.zeros(3, *SIZE, dtype=torch.bool)
    masks[1, SMALL[1], SMALL[0]] = True
    given = Instances([LARGE, SMALL, MEDIUM], SIZE, scores=[0.1, 0.9, 0.5], labels=[4, 5, 6]).with_masks(masks)

    kept = select(given, top_k=1)

    assert kept.masks[0].sum() == 1
    assert kept.labels.tolist() == [5]


@pytest.mark.parametrize('top_k', [None, 0, 8])
def test_no_instances(top_k):
    assert len(select(Instances.empty((1, 1)), score_thr=0.7, min_size=4, top_k=top_k)) == 0


def test_500_boxes():
    corners = torch.rand(500, 2, generator=torch.Generator().manual_seed(1)) * 50
    scores = torch.linspace(1, 0, 500)

    kept = select(Instances(torch.cat([corners, corners + 40], dim=1), SIZE, scores), top_k=8)

    assert kept.scores.tolist() == pytest.approx(scores[:8].flip(0).tolist())


def test_refuses_several_images():
    with pytest.raises(ValueError, match='one image, but got those of 2'):
        select(Instances.cat([Instances.empty(SIZE), Instances.empty(SIZE)]))


def test_refuses_a_negative_top_k():
    with pytest.raises(ValueError, match='top_k must be at least 0 or None, but got -1'):
        select(Instances.empty(SIZE), top_k=-1)
