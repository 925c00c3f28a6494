import numpy as np
import pytest
import torch

from insta_colorization.detectors import FrozenEncoder
from insta_colorization.detectors.dense_head import (
    DenseDetector,
    DenseHead,
    DetectionPreprocessor,
    Found,
    assign,
    averaged,
    box_ious,
    detection_losses,
)
from insta_colorization.structures import ColorizationSample, Instances

FEATURES = {'enc16': (3, 16), 'enc32': (5, 32)}


def features(count: int = 1, side: int = 64) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {row: torch.randn(count, *(channels, side // s, side // s)) for row, (channels, s) in FEATURES.items()}


def test_cells_lie_on_their_grids_from_fine_to_coarse():
    found = DenseHead(FEATURES, channels=8)(features(2))

    assert found.quality.shape == (2, 20)
    assert found.classes.shape == (2, 20, 80)
    assert found.boxes.shape == (2, 20, 4)
    assert found.strides.tolist() == [16] * 16 + [32] * 4
    assert found.centres[[0, 1, 4, 16, 19]].tolist() == [[8, 8], [24, 8], [8, 24], [16, 16], [48, 48]]


@pytest.mark.parametrize('shape', [{'convs': 3}, {'separable': False}], ids=str)
def test_a_head_is_made_again_of_its_entries(shape):
    head, pictures = DenseHead(FEATURES, channels=16, **shape), features()

    again = DenseHead.of_shape(FEATURES, head.state_dict())
    again.load_state_dict(head.state_dict())

    assert torch.equal(again(pictures).boxes, head(pictures).boxes)


def test_boxes_enclose_the_centres_of_their_cells():
    found = DenseHead(FEATURES, channels=8)(features())

    assert (found.boxes[0, :, :2] < found.centres).all()
    assert (found.boxes[0, :, 2:] > found.centres).all()


def test_an_untrained_head_finds_nothing():
    assert DenseHead(FEATURES, channels=8)(features()).quality.sigmoid().max() < 0.1


def test_the_mean_with_a_mirror_image_that_says_the_same_is_the_same():
    """A picture of 32 x 64 pixels: 2 x 4 cells, then 1 x 2."""
    strides = torch.tensor([16.0] * 8 + [32.0] * 2)
    x0, y0, x1, y1 = torch.randint(64, (4, 1, 10)).float()
    boxes = torch.stack([x0, y0, x0 + x1, y0 + y1], dim=-1)
    found = Found(torch.randn(1, 10), torch.randn(1, 10, 3), boxes, torch.zeros(10, 2), strides)
    order = [3, 2, 1, 0, 7, 6, 5, 4, 9, 8]
    turned = torch.stack([64 - x0 - x1, y0, 64 - x0, y0 + y1], dim=-1)
    other = Found(found.quality[:, order], found.classes[:, order], turned[:, order], found.centres, strides)

    mean = averaged(found, other, 64)

    assert torch.allclose(mean.quality, found.quality, atol=1e-5)
    assert torch.allclose(mean.classes.softmax(-1), found.classes.softmax(-1), atol=1e-5)
    assert torch.allclose(mean.boxes, found.boxes, atol=1e-4)


def test_a_photo_does_not_depend_on_its_neighbours():
    head, pictures = DenseHead(FEATURES, channels=8).train(), features(2)

    both, alone = head(pictures), head({row: feature[:1] for row, feature in pictures.items()})

    assert torch.allclose(both.quality[:1], alone.quality, atol=1e-6)


CENTRES = torch.tensor([[8.0, 8], [24, 8], [40, 8], [16, 16], [48, 16]])
STRIDES = torch.tensor([16.0, 16, 16, 32, 32])


@pytest.mark.parametrize(
    ('boxes', 'expected'),
    [
        pytest.param([], [-1] * 5, id='none'),
        pytest.param([[0, 0, 34, 30]], [0, 0, -1, -1, -1], id='small objects have the fine grid'),
        pytest.param([[-50, -90, 80, 100]], [-1, -1, -1, 0, 0], id='large ones the coarse'),
        pytest.param([[-20, -30, 60, 45]], [0, 0, 0, 0, 0], id='those between have both'),
        pytest.param([[0, 0, 34, 30], [0, 0, 20, 20]], [1, 0, -1, -1, -1], id='the smallest of several'),
        pytest.param([[2, 2, 5, 5]], [-1] * 5, id='between the cells'),
    ],
)
def test_which_box_a_cell_learns(boxes, expected):
    assert assign(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), CENTRES, STRIDES).tolist() == expected


def test_overlaps_of_known_boxes():
    first = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    second = torch.tensor([[0.0, 0, 10, 10], [0, 5, 10, 15], [20, 0, 30, 10]])

    iou, generalized = box_ious(first, second)

    assert torch.allclose(iou, torch.tensor([1, 1 / 3, 0]))
    # Of the box around both, 0, 0 and a third lies in neither.
    assert torch.allclose(generalized, torch.tensor([1, 1 / 3, -1 / 3]))


def truth(*boxes, labels=None, scores=None, images=None) -> Instances:
    size = torch.tensor([[64, 64], [64, 64]])
    return Instances(torch.tensor(boxes).reshape(-1, 4), size, scores, images, labels=labels)


def found(quality: float, box: list[float], right: int) -> Found:
    """What a head says that is sure of class `right` and of one box in all cells."""
    classes = torch.zeros(2, 5, 80)
    classes[..., right] = 20
    return Found(torch.full((2, 5), quality), classes, torch.tensor(box).expand(2, 5, 4), CENTRES, STRIDES)


def test_a_right_box_of_the_right_class_costs_nothing():
    box = [0.0, 0, 34, 30]

    losses = detection_losses(found(-20.0, box, 3), truth(box, labels=[3]))

    assert losses['loss_box'] == pytest.approx(0, abs=1e-6)
    assert losses['loss_class'] == pytest.approx(0, abs=1e-5)
    assert losses['loss_quality'] > 1  # two cells should be sure of it


def test_each_photo_learns_its_own_boxes():
    box = [0.0, 0, 34, 30]
    says = found(-20.0, box, 3)
    says.quality[1, :2] = 20

    second = detection_losses(says, truth(box, labels=[3], images=[1]))
    first = detection_losses(says, truth(box, labels=[3], images=[0]))

    assert second['loss_quality'] == pytest.approx(0, abs=1e-5)
    assert first['loss_quality'] > 1


def test_scores_are_weights_and_an_unknown_class_costs_nothing():
    box, wrong = [0.0, 0, 34, 30], [0.0, 0, 34, 60]

    certain, doubtful = (
        detection_losses(found(-20.0, wrong, 3), truth(box, wrong, labels=[4, -1], scores=[score, 1.0], images=[0, 1]))
        for score in (1.0, 0.5)
    )

    assert doubtful['loss_box'] < certain['loss_box']
    assert doubtful['loss_class'] < certain['loss_class']
    assert 'loss_class' not in detection_losses(found(-20.0, wrong, 3), truth(box))


def test_a_batch_without_boxes_has_finite_losses_and_gradients():
    head = DenseHead(FEATURES, channels=8)

    losses = detection_losses(head(features(2)), truth(labels=[]))
    sum(losses.values()).backward()

    assert all(loss.isfinite() for loss in losses.values())
    assert head.quality.bias.grad.isfinite().all()


def test_the_preprocessor_moves_boxes_onto_the_squashed_pictures():
    photos = [Instances.clipped([[10, 20, 50, 100]], (100, 50), labels=[1]), Instances.empty((64, 64))]
    data = {
        'inputs': {'gray': [torch.from_numpy(np.full((32, 64), value, np.uint8)) for value in (1, 2)]},
        'data_samples': [ColorizationSample(instances=instances) for instances in photos],
    }

    batch = DetectionPreprocessor()(data, training=True)

    assert batch['gray'].shape == (2, 32, 64)
    assert batch['instances'].boxes.tolist() == [[pytest.approx(v) for v in (12.8, 6.4, 64, 32)]]
    assert batch['instances'].labels.tolist() == [1]
    assert batch['instances'].num_images == 2


@pytest.mark.slow
def test_the_encoder_is_trained_along_from_one_feature_on(colour_weights):
    torch.manual_seed(0)
    model = DenseDetector(colour_weights, above='enc16', rows=('enc32',), head={'channels': 8})
    box = truth([8.0, 8, 56, 56], labels=[3])
    gray = torch.randint(256, (2, 64, 64), dtype=torch.uint8)
    before = FrozenEncoder(colour_weights, ('enc32',))(gray)['enc32']

    assert torch.equal(model.encoder(gray)['enc32'], before)
    sum(model(gray, box, 'loss').values()).backward()

    trained = {name for name, value in model.named_parameters() if value.grad is not None}
    assert trained == {name for name, _ in model.named_parameters()}
    assert 'encoder.copy.blocks.6.0.layers.0.weight' in trained
    assert not any('blocks.4' in name for name in model.state_dict())


def test_rows_below_what_is_trained_along_are_refused(colour_weights):
    with pytest.raises(ValueError, match="the copy of the encoder above enc16 gives enc32, but not 'enc16'"):
        DenseDetector(colour_weights, above='enc16')
