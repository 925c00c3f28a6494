import numpy as np
import pytest
import torch

from insta_colorization.structures import Instances

SIZE = (40, 60)


def two_images():
    first = Instances([[0, 0, 10, 10], [5, 5, 60, 40]], SIZE, scores=[0.5, 0.9])
    return Instances.cat([first, Instances.empty((8, 9)), Instances([[1, 2, 3, 4]], (30, 20), scores=[0.7])])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        pytest.param({'boxes': [[0, 0, 10]]}, r'boxes must have shape \(R, 4\), but got \(1, 3\)', id='shape'),
        pytest.param({'scores': [1.0, 1.0]}, 'scores must have one entry per box, but got 2 for 1 boxes', id='scores'),
        pytest.param({'scores': [[0.5]]}, r'scores must have shape \(R,\), but got \(1, 1\)', id='score-column'),
        pytest.param({'scores': [float('nan')]}, 'scores must be finite, but got nan', id='score-nan'),
        pytest.param({'image_index': [1]}, r'image_index must lie in 0..0, but got 1..1', id='image-index'),
        pytest.param({'image_index': [-1]}, r'image_index must lie in 0..0, but got -1..-1', id='negative-index'),
        pytest.param({'masks': torch.zeros(2, 40, 60)}, 'masks must have one entry per box', id='mask-count'),
        pytest.param({'masks': torch.zeros(1, 40)}, r'masks must have shape \(R, H, W\)', id='mask-shape'),
        pytest.param({'boxes': [[0, 0, float('nan'), 9]]}, 'box 0 is not finite: .*nan.* height 40', id='nan'),
        pytest.param({'boxes': [[0, 0, float('inf'), 9]]}, 'box 0 is not finite', id='infinite'),
        pytest.param({'boxes': [[9, 0, 5, 9]]}, 'box 0 is inverted or has no area', id='inverted'),
        pytest.param({'boxes': [[5, 0, 5, 9]]}, 'box 0 is inverted or has no area', id='no-area'),
        pytest.param({'boxes': [[0, 0, 61, 9]]}, 'box 0 leaves its image: .*61.* height 40 and width 60', id='outside'),
    ],
)
def test_construction_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Instances(**{'boxes': [[0, 0, 10, 10]], 'image_size': SIZE, **arguments})


def test_the_message_counts_boxes_over_the_whole_batch():
    with pytest.raises(ValueError, match=r'box 1 leaves its image: .* height 10 and width 10'):
        Instances([[0, 0, 50, 30], [0, 0, 50, 30]], [(40, 60), (10, 10)], image_index=[0, 1])


def test_defaults():
    instances = Instances([[0, 0, 10, 10]], SIZE)

    assert instances.scores.tolist() == [1.0]
    assert instances.image_index.tolist() == [0]
    assert instances.image_size.tolist() == [[40, 60]]
    assert instances.masks is None


def test_empty_of_one_and_of_many_images():
    one, many = Instances.empty(SIZE), Instances.empty(torch.tensor([[4, 5], [6, 7], [8, 9]]))

    assert (len(one), one.num_images) == (0, 1)
    assert (len(many), many.num_images) == (0, 3)
    assert one.in_pixels().shape == one.on_grid((8, 8)).shape == (0, 4)
    assert [len(part) for part in many.by_image()] == [0, 0, 0]


class TestClipped:
    def test_cuts_boxes_to_the_image_and_drops_those_without_area_inside(self):
        boxes = [[-5, -5, 10, 10], [50, 30, 90, 90], [70, 0, 80, 10], [5, 5, 5, 9], [-9, -9, 99, 99]]

        found = Instances.clipped(boxes, SIZE, [0.1, 0.2, 0.3, 0.4, 0.5], torch.eye(5).view(5, 5, 1) > 0)

        assert found.boxes.tolist() == [[0, 0, 10, 10], [50, 30, 60, 40], [0, 0, 60, 40]]
        assert found.scores.tolist() == pytest.approx([0.1, 0.2, 0.5])
        assert found.masks[:, :, 0].float().argmax(dim=1).tolist() == [0, 1, 4]

    @pytest.mark.parametrize('nothing', [[], np.zeros((0, 4)), np.zeros(0)], ids=['list', 'rows', 'flat'])
    def test_takes_no_boxes_in_every_form(self, nothing):
        assert len(Instances.clipped(nothing, SIZE, [])) == 0

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            pytest.param(([[0, 0, float('nan'), 1]], SIZE), 'box 0 is not finite or is inverted: .*nan', id='nan'),
            pytest.param(([[0, 0, 1, 1], [9, 0, 5, 9]], SIZE), r'box 1 .* \[9.0, 0.0, 5.0, 9.0\]', id='inverted'),
            pytest.param((np.zeros((4, 5)), SIZE), r'boxes must have shape \(R, 4\), but got \(4, 5\)', id='shape'),
            pytest.param(([[0, 0, 1, 1]], SIZE, [1, 1]), 'got 2 for 1 boxes', id='scores'),
            pytest.param(([[0, 0, 1, 1]], SIZE, None, torch.zeros(2, 4, 4)), 'masks .* got 2 for 1', id='masks'),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Instances.clipped(*arguments)

    def test_a_very_long_image_and_a_single_pixel(self):
        assert Instances.clipped([[-1, -1, 2, 2]], (1, 1)).boxes.tolist() == [[0, 0, 1, 1]]
        assert Instances.clipped([[0, 0, 1e6, 1e6]], (40, 12000)).boxes.tolist() == [[0, 0, 12000, 40]]


class TestCat:
    def test_images_keep_their_order(self):
        instances = two_images()

        assert instances.num_images == 3
        assert instances.image_index.tolist() == [0, 0, 2]
        assert instances.image_size.tolist() == [[40, 60], [8, 9], [30, 20]]

    def test_by_image_takes_it_apart_again(self):
        parts = two_images().by_image()

        assert [part.boxes.tolist() for part in parts] == [[[0, 0, 10, 10], [5, 5, 60, 40]], [], [[1, 2, 3, 4]]]
        assert [part.image_size.tolist() for part in parts] == [[[40, 60]], [[8, 9]], [[30, 20]]]
        assert parts[2].scores.tolist() == pytest.approx([0.7])

    def test_pads_masks_to_the_largest_image(self):
        low = Instances([[0, 0, 2, 2]], (3, 8), masks=torch.ones(1, 3, 8))
        high = Instances([[0, 0, 2, 2]], (9, 4), masks=torch.ones(1, 9, 4))

        masks = Instances.cat([low, high]).masks

        assert masks.shape == (2, 9, 8)
        assert masks.sum(dim=(1, 2)).tolist() == [24, 36]
        assert masks[0, :3].all()
        assert masks[1, :, :4].all()

    def test_a_photo_without_instances_does_not_cost_the_others_their_masks(self):
        found = Instances([[0, 0, 2, 2]], (3, 8), masks=torch.ones(1, 3, 8))
        nothing = Instances(torch.zeros(0, 4), (20, 20), masks=torch.zeros(0, 20, 20))

        assert Instances.cat([Instances.empty((5, 5)), found]).masks.shape == (1, 3, 8)
        assert Instances.cat([found, nothing]).masks.shape == (1, 20, 20)

    def test_masks_go_when_an_instance_has_none(self):
        found = Instances([[0, 0, 2, 2]], (3, 8), masks=torch.ones(1, 3, 8))

        assert Instances.cat([found, Instances([[0, 0, 2, 2]], (3, 8))]).masks is None

    def test_needs_a_part(self):
        with pytest.raises(ValueError, match='at least one'):
            Instances.cat([])


@pytest.mark.parametrize(
    ('index', 'scores'),
    [
        pytest.param(slice(1, None), [0.9, 0.7], id='slice'),
        pytest.param([2, 0], [0.7, 0.5], id='list'),
        pytest.param([True, False, True], [0.5, 0.7], id='list-of-bool'),
        pytest.param(np.array([False, True, False]), [0.9], id='numpy-mask'),
        pytest.param(torch.tensor([False, False, True]), [0.7], id='mask'),
        pytest.param([], [], id='nothing'),
    ],
)
def test_indexing(index, scores):
    part = two_images()[index]

    assert part.scores.tolist() == pytest.approx(scores)
    assert part.num_images == 3


def test_of_images_renumbers():
    part = two_images().of_images(torch.tensor([False, True, True]))

    assert part.image_size.tolist() == [[8, 9], [30, 20]]
    assert part.image_index.tolist() == [1]
    assert part.boxes.tolist() == [[1, 2, 3, 4]]


def test_to_moves_every_field(monkeypatch):
    instances = Instances([[0, 0, 2, 2]], (3, 8), masks=torch.ones(1, 3, 8))
    monkeypatch.setattr(
        Instances, '_validate', lambda self: None
    )  # the meta device, here on every machine, has no values

    moved = instances.to('meta')

    for name in ('boxes', 'image_size', 'scores', 'image_index', 'masks'):
        assert getattr(moved, name).device.type == 'meta'


def test_areas():
    assert two_images().areas.tolist() == [100, 55 * 35, 4]


class TestWholePixels:
    @pytest.mark.parametrize(
        ('box', 'expected'),
        [
            pytest.param([3.9, 2.9, 10.1, 11.9], [3, 2, 10, 11], id='floored'),
            pytest.param([3.2, 2.2, 3.8, 2.9], [3, 2, 4, 3], id='thin-grows-at-its-end'),
            pytest.param([59.2, 39.2, 59.9, 39.9], [58, 38, 59, 39], id='thin-at-the-far-edge-moves-its-start'),
        ],
    )
    def test_in_pixels(self, box, expected):
        assert Instances([box], SIZE).in_pixels().tolist() == [expected]

    def test_in_pixels_of_a_single_pixel_stays_inside(self):
        assert Instances([[0.2, 0.2, 0.9, 0.9]], (1, 1)).in_pixels().tolist() == [[0, 0, 1, 1]]

    @pytest.mark.parametrize(
        ('box', 'grid', 'expected'),
        [
            pytest.param([0, 0, 60, 40], (32, 64), [0, 0, 64, 32], id='whole-image'),
            pytest.param([30, 20, 31, 21], (4, 4), [2, 2, 3, 3], id='one-cell'),
            pytest.param([59, 39, 60, 40], (4, 4), [3, 3, 4, 4], id='last-cell'),
            pytest.param([10, 10, 20, 20], (1, 1), [0, 0, 1, 1], id='grid-of-one-cell'),
        ],
    )
    def test_on_grid(self, box, grid, expected):
        assert Instances([box], SIZE).on_grid(grid).tolist() == [expected]

    def test_on_grid_keeps_500_random_boxes_inside_and_nonempty(self):
        corner = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([59.0, 39.0])
        boxes = torch.cat([corner, corner + 0.01 + torch.rand(500, 2) * 0.9], dim=1)

        cells = Instances(boxes, SIZE).on_grid((8, 8))

        assert (cells[:, :2] >= 0).all()
        assert (cells[:, 2:] <= 8).all()
        assert (cells[:, 2:] > cells[:, :2]).all()
