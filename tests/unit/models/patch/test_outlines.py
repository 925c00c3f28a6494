import cv2
import numpy as np
import pytest
import torch

from insta_colorization.models.patch.outlines import SegmentInstances, grabcut, outlines, with_masks
from insta_colorization.structures import Instances

SIZE = (80, 120)


@pytest.fixture
def photo() -> np.ndarray:
    """A bright disc of radius 20 around (60, 40) on a dark ground, with noise."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    values = np.where(np.hypot(rows - 40, columns - 60) < 20, 190, 60)
    noise = np.random.default_rng(0).normal(0, 6, SIZE)
    return np.repeat((values + noise).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def instances(*boxes: list[float], **more: object) -> Instances:
    return Instances(torch.tensor(boxes).float(), SIZE, **more)


class TestGrabCut:
    BOX = (36, 16, 84, 64)

    def test_it_finds_what_stands_out(self, photo):
        mask = grabcut(photo, self.BOX)
        truth = photo[16:64, 36:84, 0] > 125

        assert mask.shape == (48, 48)
        assert (mask.numpy() & truth).sum() / (mask.numpy() | truth).sum() > 0.9

    def test_it_is_the_same_whatever_opencv_drew_before(self, photo):
        first = grabcut(photo, self.BOX)
        cv2.setRNGSeed(99)
        cv2.kmeans(np.random.default_rng(1).random((50, 1), np.float32), 3, None, (1, 5, 0), 2, cv2.KMEANS_PP_CENTERS)

        assert torch.equal(grabcut(photo, self.BOX), first)

    @pytest.mark.parametrize('box', [(0, 0, 1, 1), (5, 5, 7, 6), (0, 0, 120, 2), (119, 79, 120, 80), (30, 0, 33, 80)])
    def test_any_box_will_do(self, photo, box):
        mask = grabcut(photo, box)

        assert mask is None or mask.shape == (box[3] - box[1], box[2] - box[0])

    def test_a_box_of_the_whole_photo_has_no_surroundings(self, photo):
        assert grabcut(photo, (0, 0, 120, 80)) is None

    def test_a_photo_without_any_contrast(self):
        mask = grabcut(np.full((*SIZE, 3), 77, np.uint8), self.BOX)

        assert mask is None or mask.any()


class TestMasks:
    def test_those_that_are_given_stay(self, photo):
        given = instances([10, 10, 30, 30], [36, 16, 84, 64])
        given = given.with_masks(np.stack([np.tri(*SIZE), np.ones(SIZE)]))

        found, sources = with_masks(photo, given, 'grabcut')

        assert sources == ['mask', 'grabcut']
        assert torch.equal(found.masks[0], given.masks[0])
        assert not found.masks[1].all()

    @pytest.mark.parametrize(('without', 'sources'), [('grabcut', ['grabcut', 'box']), ('box', ['box', 'box'])])
    def test_boxes_get_some(self, photo, without, sources):
        found, named = with_masks(photo, instances([36, 16, 84, 64], [0, 0, 120, 80]), without)

        assert named == sources
        assert [mask.all().item() for mask in found.masks] == [source == 'box' for source in sources]

    def test_none(self, photo):
        found, sources = with_masks(photo, Instances.empty(SIZE), 'grabcut')

        assert (len(found), sources, outlines(found, 0.1)) == (0, [], ())

    def test_the_transform_does_the_same(self, photo):
        results = {'img': photo, 'instances': instances([36, 16, 84, 64])}

        found = SegmentInstances()(results)['instances']

        assert torch.equal(found.masks[0], grabcut(photo, TestGrabCut.BOX))
        assert SegmentInstances('box').describe() == {'masks': 'those of the boxes; without one box'}
        assert SegmentInstances()({'img': photo}) == {'img': photo}


class TestOutlines:
    def test_masks_fade_in_from_their_edges(self):
        mask = np.zeros(SIZE)
        mask[20:60, 30:90] = 1
        (found,) = outlines(instances([20, 10, 100, 70]).with_masks(mask[None]), feather=0.1)

        weights = found.weights.float()
        assert found.box == (20, 10, 100, 70)
        assert ((weights > 0) == torch.from_numpy(mask[10:70, 20:100] > 0)).all()
        line = weights[30, 10:70]
        assert (line[:30].diff() >= 0).all()
        assert [round(v, 2) for v in line[:8].tolist()] == [0.17, 0.33, 0.5, 0.67, 0.83, 1, 1, 1]

    def test_boxes_fade_in_except_where_the_photo_ends(self):
        found = instances([0, 20, 40, 60]).with_masks(np.ones((1, *SIZE)))
        weights = outlines(found, feather=0.02)[0].weights.float()

        assert weights[20, 0] == 1
        assert weights[20, -1] < 0.2 > weights[0, 20]
        assert weights[20, 20] == 1

    def test_without_feather_edges_are_hard(self):
        found = instances([0, 20, 40, 60]).with_masks(np.ones((1, *SIZE)))

        assert outlines(found, feather=0)[0].weights.all()

    def test_an_empty_mask_weighs_nothing(self):
        found = instances([5, 5, 20, 20]).with_masks(np.zeros((1, *SIZE)))

        assert not outlines(found, feather=0.1)[0].weights.any()


def test_a_setting_that_there_is_not():
    with pytest.raises(ValueError, match="must be one of grabcut, box, but got 'magic'"):
        SegmentInstances('magic')
