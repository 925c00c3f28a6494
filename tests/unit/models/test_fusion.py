"""`InstanceFusion` against the paper's Equation 1 written out: every crop padded to the whole grid, one big softmax."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from insta_colorization.models import FusionNetwork, InstanceFusion, network_input
from insta_colorization.models.backbone import STAGE_NAMES
from insta_colorization.models.fusion import fusion_weights, weight_net
from insta_colorization.structures import Instances

GRID = (12, 16)
PHOTO = (120, 160)


def padded_fusion(fusion: InstanceFusion, feature: Tensor, crops: Tensor, boxes: list[list[int]]) -> Tensor:
    """One image as the published `WeightGenerator` does it: slow, and every map as large as the grid.

    feature (1, C, H, W), crops (R, C, h, w), boxes in cells.
    """
    height, width = feature.shape[-2:]

    def on_canvas(patch: Tensor, box: list[int]) -> Tensor:
        x0, y0, x1, y1 = box
        patch = F.interpolate(patch, size=(y1 - y0, x1 - x0), mode='bilinear', align_corners=False)
        return F.pad(patch, (x0, width - x1, y0, height - y1), value=0)

    covered = torch.zeros(1, 1, height, width)
    weights, features = [], []
    for crop, box in zip(crops[:, None], boxes, strict=True):
        weights.append(on_canvas(fusion.crop_weight(crop), box))
        features.append(on_canvas(crop, box))
        x0, y0, x1, y1 = box
        covered[:, :, y0:y1, x0:x1] = 1
    weights.append(fusion.image_weight(feature) + 100_000 * (1 - covered))
    features.append(feature)
    shares = torch.cat(weights, dim=1).softmax(dim=1)
    return (torch.cat(features) * shares.transpose(0, 1)).sum(dim=0, keepdim=True)


def photo_boxes(*cells: list[int]) -> list[list[float]]:
    """Boxes in pixels of a photo ten times as large as the grid."""
    return [[10.0 * value for value in box] for box in cells]


def random_boxes(count: int, seed: int) -> list[list[float]]:
    generator = torch.Generator().manual_seed(seed)
    ends = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * torch.tensor([158.0, 118.0])
    return [[x0, y0, x1 + 2, y1 + 2] for (x0, y0), (x1, y1) in ends.tolist()]


BOXES = {
    'one': photo_boxes([2, 3, 9, 8]),
    'overlapping': photo_boxes([1, 1, 9, 9], [5, 4, 14, 11], [6, 5, 8, 7]),
    'apart': photo_boxes([0, 0, 4, 4], [8, 6, 16, 12]),
    'one-cell': [[35.0, 47.0, 37.0, 48.0], *photo_boxes([2, 2, 8, 8])],
    'last-cell': [[159.0, 119.0, 160.0, 120.0]],
    'whole-image': photo_boxes([0, 0, 16, 12]),
    'whole-image-and-more': photo_boxes([0, 0, 16, 12], [0, 0, 16, 12], [3, 3, 5, 5]),
    'random': random_boxes(8, seed=1),
}


@pytest.fixture
def fusion(lively) -> InstanceFusion:
    fusion = lively(InstanceFusion(channels=6, inner_channels=5))
    for net in (fusion.crop_weight, fusion.image_weight):
        # Weights of a few units, hardly any cut off by the last ReLU, so that shares differ from cell to cell.
        net[4].weight.data.mul_(3)
        net[4].bias.data.fill_(1.5)
    return fusion


def features(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 6, *GRID, generator=generator), torch.randn(count, 6, *GRID, generator=generator)


@pytest.mark.parametrize('boxes', BOXES.values(), ids=BOXES)
class TestEquationOne:
    def test_values(self, fusion, boxes):
        feature, crops = features(len(boxes))
        instances = Instances(boxes, PHOTO)

        ours = fusion(feature, crops, instances)

        torch.testing.assert_close(
            ours, padded_fusion(fusion, feature, crops, instances.on_grid(GRID).tolist()), atol=2e-6, rtol=1e-5
        )
        assert (ours - feature).abs().max() > 0.1

    def test_gradients(self, fusion, boxes):
        fusion.double()
        feature, crops = (value.double().requires_grad_() for value in features(len(boxes)))
        instances = Instances(boxes, PHOTO)
        inputs = [feature, crops, *fusion.parameters()]

        # double precision, but the shares are computed in float32
        ours = torch.autograd.grad(fusion(feature, crops, instances).square().sum(), inputs)
        reference = padded_fusion(fusion, feature, crops, instances.on_grid(GRID).tolist())
        expected = torch.autograd.grad(reference.square().sum(), inputs)

        for mine, theirs in zip(ours, expected, strict=True):
            torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=2e-4)


class TestQuirks:
    def test_an_instance_takes_a_share_inside_anothers_box(self):
        # Both instances have weight ln 3, the image has 0. Where only the first one's box is, the second one's map is
        # padded with 0, not with minus infinity: shares 3 / (3 + 1 + 1), not 3 / (3 + 1).
        weight = torch.log(torch.tensor(3.0))
        boxes = [[0, 0, 2, 4], [2, 0, 4, 4]]

        image_share, shares = fusion_weights(
            torch.zeros(1, 1, 4, 4), weight.expand(2, 1, 4, 4), boxes, torch.tensor([0, 0])
        )

        torch.testing.assert_close(shares[0, 0, :, :2], torch.full((4, 2), 3 / 5))
        torch.testing.assert_close(image_share[0, 0], torch.full((4, 4), 1 / 5))

    def test_an_instance_takes_nothing_from_another_image(self):
        image_share, shares = fusion_weights(
            torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), [[0, 0, 4, 4], [0, 0, 2, 2]], torch.tensor([0, 1])
        )

        torch.testing.assert_close(shares[0], torch.full((1, 4, 4), 0.5))
        torch.testing.assert_close(image_share[1, 0, :2, :2], torch.full((2, 2), 0.5))

    def test_where_no_box_covers_the_images_feature_passes_exactly(self, fusion):
        feature, crops = features(2)
        instances = Instances(photo_boxes([1, 1, 5, 5], [3, 4, 9, 8]), PHOTO)

        fused = fusion(feature, 50 * crops, instances)

        outside = torch.ones(GRID, dtype=torch.bool)
        outside[1:5, 1:5] = False
        outside[4:8, 3:9] = False
        assert torch.equal(fused[0][:, outside], feature[0][:, outside])
        assert (fused[0][:, ~outside] != feature[0][:, ~outside]).all()

    def test_without_instances_every_feature_passes_exactly(self, fusion):
        feature, _ = features(0)

        assert torch.equal(fusion(feature, torch.zeros(0, 6, *GRID), Instances.empty(PHOTO)), feature)

    @pytest.mark.parametrize('name', ['crop_weight', 'image_weight'])
    def test_weight_nets_end_in_a_relu(self, name):
        net = getattr(InstanceFusion(channels=32), name)

        convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
        assert [type(layer) for layer in net] == [nn.Conv2d, nn.ReLU] * 3
        assert [(c.in_channels, c.out_channels, c.kernel_size) for c in convolutions] == [
            (32, 16, (3, 3)),
            (16, 16, (3, 3)),
            (16, 1, (3, 3)),
        ]

    def test_weights_are_never_negative(self, lively):
        net = lively(weight_net(4, 8))
        net[4].bias.data.fill_(-0.1)

        weights = net(torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)))

        assert weights.min() == 0
        assert weights.max() > 0

    def test_the_weight_net_runs_before_the_crop_is_resized(self, fusion):
        seen = []
        fusion.crop_weight.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].shape, output.shape)))
        feature, crops = features(1)

        fusion(feature, crops, Instances(photo_boxes([2, 2, 5, 4]), PHOTO))

        assert seen == [((1, 6, *GRID), (1, 1, *GRID))]


class TestBatch:
    def test_images_do_not_see_each_others_instances(self, fusion):
        counts = (0, 1, 3, 8)
        images = torch.cat([features(0, seed)[0] for seed in range(4)])
        crops = [features(count, seed=10 + count)[1] for count in counts]
        parts = [Instances(torch.tensor(random_boxes(count, count)).view(-1, 4), PHOTO) for count in counts]

        together = fusion(images, torch.cat(crops), Instances.cat(parts))

        for image, own_crops, part, fused in zip(images.split(1), crops, parts, together.split(1), strict=True):
            torch.testing.assert_close(fused, fusion(image, own_crops, part), atol=1e-5, rtol=0)
            boxes = part.on_grid(GRID).tolist()
            torch.testing.assert_close(fused, padded_fusion(fusion, image, own_crops, boxes), atol=2e-6, rtol=1e-5)

    def test_the_order_of_instances_does_not_matter(self, fusion):
        images = torch.cat([features(0, seed)[0] for seed in range(2)])
        _, crops = features(4)
        boxes, index = torch.tensor(random_boxes(4, 3)), torch.tensor([0, 0, 1, 1])
        order = torch.tensor([3, 0, 2, 1])
        sizes = torch.tensor([PHOTO, PHOTO])

        straight = fusion(images, crops, Instances(boxes, sizes, image_index=index))
        shuffled = fusion(images, crops[order], Instances(boxes[order], sizes, image_index=index[order]))

        torch.testing.assert_close(straight, shuffled, atol=1e-5, rtol=0)


class TestNetwork:
    def test_fuses_after_every_row_with_that_rows_feature(self, lively):
        net = lively(FusionNetwork(width=1 / 16))
        seen = {}
        for name, fusion in net.fusions.items():
            fusion.register_forward_hook(lambda _, inputs, __, name=name: seen.update({name: inputs[1]}))
        instances = Instances([[4, 4, 20, 30]], (32, 32))
        crop_features = {
            name: torch.randn(1, net.channels[name], 32 // net.strides[name], 32 // net.strides[name])
            for name in STAGE_NAMES
        }

        net(network_input(torch.rand(1, 1, 32, 32)), crop_features, instances)

        assert tuple(seen) == STAGE_NAMES
        assert all(seen[name] is crop_features[name] for name in STAGE_NAMES)

    def test_without_instances_it_is_its_trunk(self, lively):
        net = lively(FusionNetwork(width=1 / 16))
        x = network_input(torch.rand(1, 1, 32, 32) - 0.5)
        nothing = {name: torch.zeros(0, net.channels[name], 4, 4) for name in STAGE_NAMES}

        fused = net(x, nothing, Instances.empty((32, 32)))
        plain = super(FusionNetwork, net).forward(x)

        assert torch.equal(fused.ab, plain.ab)

    def test_inner_channels_come_from_the_config(self):
        net = FusionNetwork(width=1 / 16, fusion={'inner_channels': 3})

        assert {fusion.crop_weight[0].out_channels for fusion in net.fusions.values()} == {3}
