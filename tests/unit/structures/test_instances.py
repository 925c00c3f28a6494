import numpy as np
import pytest
import torch

from insta_colorization.structures import COCO_IDS, Instances

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
        pytest.param({'masks': torch.zeros(2, 10, 10)}, 'masks must have one entry per box', id='mask-count'),
        pytest.param(
            {'masks': torch.zeros(1, 40, 60)}, r'mask 0 .* of its box, \(10, 10\), but got \(40, 60\)', id='mask-size'
        ),
        pytest.param({'labels': [1, 2]}, 'labels must have one entry per box, but got 2 for 1 boxes', id='labels'),
        pytest.param({'labels': [80]}, r'labels must lie in -1\.\.79, but got 80\.\.80', id='label-beyond'),
        pytest.param(
            {'labels': [1], 'classes': ['cat']}, r'labels must lie in -1\.\.0, but got 1\.\.1', id='own-classes'
        ),
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
    assert instances.labels is None
    assert (len(instances.classes), instances.classes[0], instances.classes[-1]) == (80, 'person', 'toothbrush')


def test_official_ids_of_cocos_categories():
    # As in instances_val2017.json.
    known = {'person': 1, 'stop sign': 13, 'cat': 17, 'dining table': 67, 'tv': 72, 'toothbrush': 90}

    assert {name: COCO_IDS[name] for name in known} == known


def test_empty_of_one_and_of_many_images():
    one, many = Instances.empty(SIZE), Instances.empty(torch.tensor([[4, 5], [6, 7], [8, 9]]))

    assert (len(one), one.num_images) == (0, 1)
    assert (len(many), many.num_images) == (0, 3)
    assert one.in_pixels().shape == one.on_grid((8, 8)).shape == (0, 4)


class TestClipped:
    def test_cuts_boxes_to_the_image_and_drops_those_without_area_inside(self):
        boxes = [[-5, -5, 10, 10], [50, 30, 90, 90], [70, 0, 80, 10], [5, 5, 5, 9], [-9, -9, 99, 99]]

        masks = torch.zeros(5, *SIZE)
        masks[0, 1, 2] = masks[1, 35, 55] = masks[4] = 1

        found = Instances.clipped(boxes, SIZE, [0.1, 0.2, 0.3, 0.4, 0.5], masks, [1, 2, 3, 4, 5])

        assert found.boxes.tolist() == [[0, 0, 10, 10], [50, 30, 60, 40], [0, 0, 60, 40]]
        assert found.scores.tolist() == pytest.approx([0.1, 0.2, 0.5])
        assert [tuple(mask.shape) for mask in found.masks] == [(10, 10), (10, 10), SIZE]
        assert [mask.nonzero().tolist() for mask in found.masks[:2]] == [[[1, 2]], [[5, 5]]]
        assert found.labels.tolist() == [1, 2, 5]

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
            pytest.param(([[0, 0, 1, 1]], SIZE, None, torch.zeros(2, *SIZE)), 'masks .* got 2 for 1', id='masks'),
            pytest.param(
                ([[0, 0, 1, 1]], SIZE, None, np.zeros((1, 60, 40))),
                r'size of their photo, height 40 and width 60, but got \(60, 40\)',
                id='mask-size',
            ),
            pytest.param(([[0, 0, 1, 1]], SIZE, None, None, [1, 1]), 'labels .* got 2 for 1', id='labels'),
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

    def test_masks_stay_as_they_are(self):
        low = Instances([[0, 0, 2, 2]], (3, 8), masks=torch.ones(1, 2, 2))
        high = Instances([[0, 0, 2, 5]], (9, 4), masks=torch.eye(5, 2)[None])

        masks = Instances.cat([low, high]).masks

        assert [mask.tolist() for mask in masks] == [low.masks[0].tolist(), high.masks[0].tolist()]

    def test_a_photo_without_instances_does_not_cost_the_others_their_masks(self):
        found = Instances([[0, 0, 2, 2]], (3, 8), masks=torch.ones(1, 2, 2))
        nothing = Instances(torch.zeros(0, 4), (20, 20), masks=[])

        assert len(Instances.cat([Instances.empty((5, 5)), found]).masks) == 1
        assert len(Instances.cat([found, nothing]).masks) == 1

    def test_masks_go_when_an_instance_has_none(self):
        found = Instances([[0, 0, 2, 2]], (3, 8), masks=torch.ones(1, 2, 2))

        assert Instances.cat([found, Instances([[0, 0, 2, 2]], (3, 8))]).masks is None

    def test_labels_of_several_lists_of_classes(self):
        boxes = [[0, 0, 2, 2], [0, 0, 3, 3]]
        parts = [
            Instances.empty(SIZE),
            Instances(boxes, SIZE, labels=[1, -1], classes=['cat', 'dog']),
            Instances(boxes, SIZE, labels=[0, 1], classes=['horse', 'cat']),
            Instances(boxes[:1], SIZE, classes=['cat']),
        ]

        joined = Instances.cat(parts)

        assert joined.classes == ('cat', 'dog', 'horse')
        assert joined.labels.tolist() == [1, -1, 2, 0, -1]
        assert Instances.cat(parts[:1]).labels is None

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
    instances = Instances([[0, 0, 2, 2]], (3, 8), masks=torch.ones(1, 2, 2), labels=[3])
    monkeypatch.setattr(
        Instances, '_validate', lambda self: None
    )  # the meta device, here on every machine, has no values

    moved = instances.to('meta')

    for name in ('boxes', 'image_size', 'scores', 'image_index', 'labels'):
        assert getattr(moved, name).device.type == 'meta'
    assert moved.masks[0].device.type == 'meta'


def test_worst_to_best_by_score_then_area_then_the_given_order():
    boxes = [[0, 0, 9, 9], [0, 0, 5, 5], [1, 1, 10, 10], [0, 0, 2, 2]]

    assert Instances(boxes, SIZE, [0.5, 0.5, 0.5, 0.9]).worst_to_best().tolist() == [1, 2, 0, 3]


class TestMasks:
    def test_are_indexed_with_their_boxes(self):
        found = Instances([[0, 0, 2, 2], [0, 0, 3, 1]], SIZE, masks=[torch.ones(2, 2), torch.ones(1, 3)], labels=[4, 5])

        for index in ([1], torch.tensor([False, True]), slice(1, None)):
            assert [tuple(mask.shape) for mask in found[index].masks] == [(1, 3)]
            assert found[index].labels.tolist() == [5]

    def test_of_a_large_photo_cost_their_boxes_only(self):
        boxes = [[40 * n, 30 * n, 40 * n + 100, 30 * n + 100] for n in range(100)]
        frame = torch.ones(4000, 6000, dtype=torch.uint8)

        masks = Instances(boxes, (4000, 6000)).with_masks(frame for _ in boxes).masks

        # What is kept alive, not only what is seen of it.
        assert sum(mask.untyped_storage().nbytes() for mask in masks) == 100 * 100 * 100
        assert all(mask.all() for mask in masks)

    @pytest.mark.parametrize('count', [0, 1, 3])
    def test_as_many_as_boxes(self, count):
        with pytest.raises(ValueError, match=f'masks must have one entry per box, but got {count} for 2 boxes'):
            Instances([[0, 0, 9, 9]] * 2, SIZE).with_masks(torch.zeros(count, *SIZE))

    @pytest.mark.parametrize('box', [[3.2, 4.7, 20.5, 30.1], [59.2, 1, 59.9, 2], [0.2, 0, 0.9, 40]], ids=str)
    def test_move_with_their_photo(self, box):
        """Whatever a box is rounded to, a pixel of the mask stays on the photo's pixel."""
        photo = torch.rand(SIZE, generator=torch.manual_seed(0)) < 0.5
        found = Instances([box], SIZE).with_masks(photo[None])
        window = slice(1, 20), slice(0, 60)

        for moved, image in ((found.flip(), photo.flip(1)), (found.crop(*window), photo[window])):
            x0, y0, x1, y1 = moved.in_pixels()[0].tolist()
            there = moved.masks[0]
            assert not (there & ~image[y0:y1, x0:x1]).any()
            # At most the border of the box is lost to rounding.
            assert torch.equal(there[:, 1:-1], image[y0:y1, x0:x1][:, 1:-1])

    def test_in_the_frame_of_their_photo(self):
        photos = [torch.rand(size, generator=torch.manual_seed(0)) < 0.5 for size in (SIZE, (8, 9))]
        found = Instances.cat(
            [
                Instances([[10.5, 10, 30, 20]], SIZE).with_masks(photos[:1]),
                Instances([[0, 0, 9, 8]], (8, 9)).with_masks(photos[1:]),
            ]
        )
        inside = torch.zeros(SIZE, dtype=torch.bool)
        inside[10:20, 10:30] = True

        assert torch.equal(found.whole_mask(0), photos[0] & inside)
        assert torch.equal(found.whole_mask(1), photos[1])


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
