"""`InstanceFusion` against the paper's Equation 1 written out: every crop padded to the whole grid, one big softmax."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from insta_colorization.models import FusionNetwork, InstanceFusion, MaskFusion
from insta_colorization.models.backbones import Colors
from insta_colorization.models.backbones.zhang2017 import STAGE_NAMES
from insta_colorization.models.insta.canvas import Canvas, Grid
from insta_colorization.models.insta.fusion import weight_net
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
        inside = torch.zeros(1, 1, height, width)
        inside[:, :, box[1] : box[3], box[0] : box[2]] = 1
        weight = on_canvas(fusion.crop_weight(crop), box)
        weights.append(weight if fusion.padded else weight.masked_fill(inside == 0, -torch.inf))
        features.append(on_canvas(crop, box))
        covered = covered.maximum(inside)
    weights.append(fusion.image_weight(feature) + 100_000 * (1 - covered))
    features.append(feature)
    shares = torch.cat(weights, dim=1).softmax(dim=1)
    return (torch.cat(features) * shares.transpose(0, 1)).sum(dim=0, keepdim=True)


def fuse(
    fusion: InstanceFusion, feature: Tensor, crops: Tensor, instances: Instances, chunk: int | None = None
) -> Tensor:
    """All at once, or, without gradients, in chunks of so many crops."""
    with torch.set_grad_enabled(chunk is None):
        canvas = fusion.start(Grid(instances, (feature.shape[-2], feature.shape[-1])))
        for part in crops.split(chunk or max(1, len(crops))) if len(crops) else ():
            fusion.add(canvas, part)
        return fusion(feature if chunk is None else feature.clone(), canvas)


def weighted(
    image_weights: Tensor, weights: list[Tensor], instances: Instances, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The shares that given weights lead to: (N, 1, H, W) and (R, 1, H, W)."""
    canvas = Canvas(Grid(instances, size), record=True)
    canvas.add(torch.zeros(len(weights), 2, *size), weights)
    canvas.blend(torch.zeros(len(image_weights), 2, *size), image_weights)
    return canvas.shares()


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


@pytest.mark.parametrize('padded', [True, False], ids=['padded', 'unpadded'])
@pytest.mark.parametrize('boxes', BOXES.values(), ids=BOXES)
class TestEquationOne:
    @pytest.fixture(autouse=True)
    def whether_padded(self, fusion, padded):
        fusion.padded = padded

    @pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last], ids=['nchw', 'nhwc'])
    def test_values(self, fusion, boxes, layout):
        feature, crops = (value.contiguous(memory_format=layout) for value in features(len(boxes)))
        instances = Instances(boxes, PHOTO)
        expected = padded_fusion(fusion, feature, crops, instances.on_grid(GRID).tolist())

        for chunk in (None, 1, 3, 100):
            ours = fuse(fusion, feature, crops, instances, chunk)

            torch.testing.assert_close(ours, expected, atol=2e-6, rtol=1e-5)
            assert (ours - feature).abs().max() > 0.1
            assert ours.is_contiguous(memory_format=layout)

    @pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last], ids=['nchw', 'nhwc'])
    def test_gradients(self, fusion, boxes, layout):
        fusion.double()
        feature, crops = (
            value.double().contiguous(memory_format=layout).requires_grad_() for value in features(len(boxes))
        )
        instances = Instances(boxes, PHOTO)
        inputs = [feature, crops, *fusion.parameters()]

        ours = torch.autograd.grad(fuse(fusion, feature, crops, instances).square().sum(), inputs)
        reference = padded_fusion(fusion, feature, crops, instances.on_grid(GRID).tolist())
        expected = torch.autograd.grad(reference.square().sum(), inputs)

        for mine, theirs in zip(ours, expected, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


class Feathered(nn.Module):
    """A weight net with the ramps of the next crop's box on top, written out cell by cell."""

    def __init__(self, net: nn.Module, feather: float, boxes: list[list[int]]) -> None:
        super().__init__()
        self.net, self.feather, self.boxes = net, feather, iter(boxes)

    def forward(self, crop: Tensor) -> Tensor:
        x0, y0, x1, y1 = next(self.boxes)
        height, width = crop.shape[2:]
        ramp = torch.ones(height, width)
        for row in range(height):
            for column in range(width):
                for from_edge, side, fades in (
                    (row + 0.5, height, y0 > 0),
                    (height - row - 0.5, height, y1 < GRID[0]),
                    (column + 0.5, width, x0 > 0),
                    (width - column - 0.5, width, x1 < GRID[1]),
                ):
                    if fades:
                        ramp[row, column] *= min(1, from_edge / (self.feather * side))
        return self.net(crop) + ramp.log()


class TestFeather:
    @pytest.mark.parametrize('boxes', BOXES.values(), ids=BOXES)
    @pytest.mark.parametrize('feather', [0.1, 0.5])
    def test_the_weights_rise_from_the_edges(self, fusion, boxes, feather):
        feature, crops = features(len(boxes))
        instances = Instances(boxes, PHOTO)
        cells = instances.on_grid(GRID).tolist()
        fusion.feather = feather

        ours = [fuse(fusion, feature, crops, instances, chunk) for chunk in (None, 1, 3)]

        fusion.crop_weight = Feathered(fusion.crop_weight, feather, cells)
        expected = padded_fusion(fusion, feature, crops, cells)
        for each in ours:
            torch.testing.assert_close(each, expected, atol=2e-6, rtol=1e-5)

    def test_at_a_boxs_edge_the_image_shows(self, fusion):
        feature, crops = features(1)
        instances = Instances(photo_boxes([2, 2, 14, 10]), PHOTO)
        change = {}
        for feather in (0, 0.5):
            fusion.feather = feather
            change[feather] = (fuse(fusion, feature, crops, instances) - feature).abs().mean(1)[0]

        assert change[0.5][2, 2] < 0.3 * change[0][2, 2]
        assert change[0.5][6, 8] > 0.5 * change[0][6, 8]

    def test_at_the_photos_edge_nothing_fades(self, fusion):
        feature, crops = features(1)
        instances = Instances(BOXES['whole-image'], PHOTO)
        whole = fuse(fusion, feature, crops, instances)
        fusion.feather = 0.4

        assert torch.equal(fuse(fusion, feature, crops, instances), whole)

    @pytest.mark.parametrize('feather', [-0.1, 0.6])
    def test_settings(self, feather):
        with pytest.raises(ValueError, match=rf'in \[0, 0.5\], but got {feather}'):
            InstanceFusion(4, feather=feather)

    def test_masks_have_hard_edges(self):
        with pytest.raises(ValueError, match=r'hard edges, but feather is 0\.2'):
            MaskFusion(4, feather=0.2)


class TestNumerics:
    """What a sum that goes on chunk by chunk, and a hand-written backward pass, could get wrong."""

    @pytest.mark.parametrize('order', [[0, 1, 2], [2, 1, 0], [1, 2, 0]], ids=str)
    @pytest.mark.parametrize('chunk', [1, 2])
    def test_large_weights_do_not_overflow(self, order, chunk):
        # exp(100) is no float32; the largest weight lies last, first, and in between.
        boxes = torch.tensor(photo_boxes([0, 0, 8, 8], [2, 2, 10, 10], [4, 0, 12, 12]))[order]
        levels = torch.tensor([0.0, 100.0, 103.0])[order]
        feature, crops = features(3)
        instances = Instances(boxes, PHOTO)
        grid = Grid(instances, GRID)
        canvas = Canvas(grid)
        for part in torch.arange(3).split(chunk):
            maps = [torch.full((1, *grid.places[number].size), levels[number].item()) for number in part.tolist()]
            canvas.add(crops[part], maps)

        ours = canvas.blend(feature.clone(), torch.full((1, 1, *GRID), 101.0))

        class Given(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.full((1, 1, *GRID), next(self.levels))

        given = InstanceFusion(channels=6)
        given.crop_weight, given.image_weight = Given(), Given()
        given.crop_weight.levels, given.image_weight.levels = iter(levels.tolist()), iter([101.0])
        expected = padded_fusion(given, feature, crops, instances.on_grid(GRID).tolist())
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.slow
    def test_gradcheck(self, fusion):
        fusion.double().requires_grad_(False)
        instances = Instances(photo_boxes([0, 0, 3, 3], [2, 1, 5, 4]), PHOTO)[[0, 1, 0]]
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)

        def run(feature: Tensor, image_weights: Tensor, crops: Tensor, *weights: Tensor) -> Tensor:
            canvas = fusion.start(Grid(instances, (6, 8)))
            canvas.add(crops, weights)
            return canvas.blend(feature, image_weights)

        maps = [random(1, *place.size) for place in Grid(instances, (6, 8)).places]
        assert torch.autograd.gradcheck(run, (random(1, 2, 6, 8), random(1, 1, 6, 8), random(3, 2, 4, 4), *maps))

    def test_frozen_crops_get_no_gradient_and_the_others_theirs(self, fusion):
        feature, crops = features(2)
        feature.requires_grad_()
        instances = Instances(photo_boxes([1, 1, 9, 9], [5, 4, 14, 11]), PHOTO)

        fuse(fusion, feature, crops, instances).square().sum().backward()

        assert crops.grad is None
        assert all(p.grad.abs().max() > 0 for p in [feature, *fusion.parameters()])

    def test_what_comes_before_may_be_frozen(self, fusion):
        feature, crops = features(2)
        instances = Instances(photo_boxes([1, 1, 9, 9], [5, 4, 14, 11]), PHOTO)

        fuse(fusion, feature, crops, instances).square().sum().backward()

        assert feature.grad is None
        assert all(p.grad.abs().max() > 0 for p in fusion.parameters())

    @pytest.mark.parametrize('chunk', [None, 1])
    def test_half_precision_features_stay_so_and_their_weights_do_not(self, fusion, chunk):
        feature, crops = features(3)
        instances = Instances(photo_boxes([1, 1, 9, 9], [5, 4, 14, 11], [6, 5, 8, 7]), PHOTO)
        seen = []
        add = Canvas.add
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Canvas, 'add', lambda *args: (seen.extend(args[2]), add(*args)))
            with torch.autocast('cpu', torch.bfloat16):
                ours = fuse(fusion, feature.bfloat16(), crops.bfloat16(), instances, chunk)

        assert ours.dtype == torch.bfloat16
        assert {weight.dtype for weight in seen} == {torch.float32}
        expected = fuse(fusion, feature, crops, instances)
        assert (ours - expected).abs().max() < 0.1
        assert (ours - expected).abs().mean() < 0.01

    def test_half_precision_backward(self, fusion):
        feature, crops = (value.bfloat16().requires_grad_() for value in features(2))
        instances = Instances(photo_boxes([1, 1, 9, 9], [5, 4, 14, 11]), PHOTO)
        with torch.autocast('cpu', torch.bfloat16):
            fused = fuse(fusion, feature, crops, instances)
        (half,) = torch.autograd.grad(fused.float().square().sum(), [crops])
        exact = [value.detach().float().requires_grad_() for value in (feature, crops)]
        (full,) = torch.autograd.grad(fuse(fusion, *exact, instances).square().sum(), exact[1:])

        assert (half - full).abs().mean() < 0.02 * full.abs().mean()

    def test_a_canvas_wants_every_instance(self, fusion):
        feature, crops = features(2)
        canvas = Canvas(Grid(Instances(photo_boxes([1, 1, 9, 9], [5, 4, 14, 11]), PHOTO), GRID))
        fusion.add(canvas, crops[:1])

        with pytest.raises(AssertionError, match='an instance has not been added'):
            canvas.blend(feature, torch.zeros(1, 1, *GRID))

    def test_shares_need_a_record(self, fusion):
        with pytest.raises(ValueError, match='shares need a canvas that records and has been blended'):
            Canvas(Grid(Instances.empty(PHOTO), GRID)).shares()


class TestMemory:
    def test_a_canvas_is_no_larger_than_the_boxes_and_forgets_the_crops(self):
        instances = Instances(photo_boxes([2, 3, 6, 5], [4, 2, 7, 6]), torch.tensor([PHOTO] * 2), image_index=[1, 1])
        grid = Grid(instances, GRID)
        canvas = Canvas(grid)
        canvas.add(torch.ones(2, 6, *GRID), [torch.zeros(1, *place.size) for place in grid.places])

        held = {id(value): value.numel() for sums in (canvas.mass, canvas.mean) for value in sums.values()}
        assert sum(held.values()) == (6 + 1) * 5 * 4

        canvas.blend(torch.ones(2, 6, *GRID), torch.zeros(2, 1, *GRID))
        assert not canvas.mean

    def test_without_gradients_it_works_in_place(self, fusion):
        feature, crops = features(1)
        with torch.no_grad():
            canvas = fusion.start(Grid(Instances(photo_boxes([2, 2, 9, 9]), PHOTO), GRID))
            fusion.add(canvas, crops)
            assert fusion(feature, canvas) is feature


class TestQuirks:
    def test_an_instance_takes_a_share_inside_anothers_box(self):
        # Both instances have weight ln 3, the image has 0. Where only the first one's box is, the second one's map is
        # padded with 0, not with minus infinity: shares 3 / (3 + 1 + 1), not 3 / (3 + 1).
        weights = [torch.log(torch.tensor(3.0)).expand(1, 4, 2)] * 2
        instances = Instances([[0, 0, 2, 4], [2, 0, 4, 4]], (4, 4))

        image_share, shares = weighted(torch.zeros(1, 1, 4, 4), weights, instances, (4, 4))

        torch.testing.assert_close(shares[0, 0, :, :2], torch.full((4, 2), 3 / 5))
        torch.testing.assert_close(shares[0, 0, :, 2:], torch.full((4, 2), 1 / 5))
        torch.testing.assert_close(image_share[0, 0], torch.full((4, 4), 1 / 5))

    def test_an_instance_takes_nothing_from_another_image(self):
        instances = Instances([[0, 0, 4, 4], [0, 0, 2, 2]], [[4, 4]] * 2, image_index=[0, 1])

        image_share, shares = weighted(
            torch.zeros(2, 1, 4, 4), [torch.zeros(1, 4, 4), torch.zeros(1, 2, 2)], instances, (4, 4)
        )

        torch.testing.assert_close(shares[0], torch.full((1, 4, 4), 0.5))
        torch.testing.assert_close(image_share[1, 0, :2, :2], torch.full((2, 2), 0.5))
        assert (shares[1, 0, 2:] == 0).all()

    @pytest.mark.parametrize('chunk', [None, 1, 2])
    def test_where_no_box_covers_the_images_feature_passes_exactly(self, fusion, chunk):
        feature, crops = features(2)
        instances = Instances(photo_boxes([1, 1, 5, 5], [3, 4, 9, 8]), PHOTO)

        fused = fuse(fusion, feature, 50 * crops, instances, chunk)

        outside = torch.ones(GRID, dtype=torch.bool)
        outside[1:5, 1:5] = False
        outside[4:8, 3:9] = False
        assert torch.equal(fused[0][:, outside], feature[0][:, outside])
        assert (fused[0][:, ~outside] != feature[0][:, ~outside]).all()

    @pytest.mark.parametrize('chunk', [None, 1])
    def test_without_instances_every_feature_passes_exactly(self, fusion, chunk):
        feature, _ = features(0)

        assert torch.equal(fuse(fusion, feature, torch.zeros(0, 6, *GRID), Instances.empty(PHOTO), chunk), feature)

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

        fuse(fusion, feature, crops, Instances(photo_boxes([2, 2, 5, 4]), PHOTO))

        assert seen == [((1, 6, *GRID), (1, 1, *GRID))]


@pytest.mark.parametrize('chunk', [None, 1, 5])
class TestBatch:
    def test_images_do_not_see_each_others_instances(self, fusion, chunk):
        counts = (0, 1, 3, 8)
        images = torch.cat([features(0, seed)[0] for seed in range(4)])
        crops = [features(count, seed=10 + count)[1] for count in counts]
        parts = [Instances(torch.tensor(random_boxes(count, count)).view(-1, 4), PHOTO) for count in counts]

        together = fuse(fusion, images, torch.cat(crops), Instances.cat(parts), chunk)

        for image, own_crops, part, fused in zip(images.split(1), crops, parts, together.split(1), strict=True):
            torch.testing.assert_close(fused, fuse(fusion, image, own_crops, part), atol=1e-5, rtol=0)
            boxes = part.on_grid(GRID).tolist()
            torch.testing.assert_close(fused, padded_fusion(fusion, image, own_crops, boxes), atol=2e-6, rtol=1e-5)

    def test_the_order_of_instances_does_not_matter(self, fusion, chunk):
        images = torch.cat([features(0, seed)[0] for seed in range(2)])
        _, crops = features(4)
        boxes, index = torch.tensor(random_boxes(4, 3)), torch.tensor([0, 0, 1, 1])
        order = torch.tensor([3, 0, 2, 1])
        sizes = torch.tensor([PHOTO, PHOTO])

        straight = fuse(fusion, images, crops, Instances(boxes, sizes, image_index=index), chunk)
        shuffled = fuse(fusion, images, crops[order], Instances(boxes[order], sizes, image_index=index[order]), chunk)

        torch.testing.assert_close(straight, shuffled, atol=1e-5, rtol=0)


def run_network(net: FusionNetwork, x: Tensor, crops: dict[str, Tensor], instances: Instances) -> Colors:
    canvases = net.start(instances, (x.shape[-2], x.shape[-1]))
    for name in canvases:
        if len(instances):
            net.add(canvases, name, crops[name])
    return net(x, None, canvases)


class TestNetwork:
    def test_fuses_after_every_row_with_that_rows_feature(self, lively):
        net = lively(FusionNetwork(width=1 / 16))
        seen, read = {}, {}
        for name, fusion in net.fusions.items():
            fusion.crop_weight.register_forward_hook(lambda _, inputs, __, name=name: read.update({name: inputs[0]}))
            fusion.register_forward_hook(lambda _, inputs, __, name=name: seen.update({name: inputs[0].shape}))
        instances = Instances([[4, 4, 20, 30]], (32, 32))
        crop_features = {
            name: torch.randn(1, channels, 32 // stride, 32 // stride)
            for name, (channels, stride) in net.backbone.feature_info.items()
        }

        run_network(net, torch.rand(1, 1, 32, 32), crop_features, instances)

        assert tuple(seen) == STAGE_NAMES
        assert {name: tuple(shape) for name, shape in seen.items()} == {
            name: tuple(crop.shape) for name, crop in crop_features.items()
        }
        assert all(read[name] is crop_features[name] for name in STAGE_NAMES)

    def test_box_geometry_is_computed_once_per_scale(self, lively, monkeypatch):
        net = lively(FusionNetwork(width=1 / 16))
        sizes = []
        on_grid = Instances.on_grid
        monkeypatch.setattr(Instances, 'on_grid', lambda self, size: (sizes.append(size), on_grid(self, size))[1])

        crops = {name: torch.rand(1, info.channels, 4, 4) for name, info in net.backbone.feature_info.items()}
        run_network(net, torch.rand(1, 1, 32, 32), crops, Instances([[4, 4, 20, 30]], (32, 32)))

        assert sorted(sizes) == [(4, 4), (8, 8), (16, 16), (32, 32)]

    def test_without_instances_it_is_its_backbone(self, lively):
        net = lively(FusionNetwork(width=1 / 16))
        x = torch.rand(1, 1, 32, 32) - 0.5

        fused = run_network(net, x, {}, Instances.empty((32, 32)))
        plain = net.backbone(x)

        assert torch.equal(fused.ab, plain.ab)

    def test_inner_channels_come_from_the_config(self):
        net = FusionNetwork(width=1 / 16, fusion={'inner_channels': 3})

        assert {fusion.crop_weight[0].out_channels for fusion in net.fusions.values()} == {3}


class TestParts:
    """The paper's Table 3a: which part of the network fuses."""

    @pytest.mark.parametrize(('fused', 'rows'), [('none', 0), ('encoder', 7), ('decoder', 6), ('both', 13)])
    def test_only_the_rows_of_the_part_fuse_and_train(self, lively, fused, rows):
        net = lively(FusionNetwork(width=1 / 16, fused=fused))
        ran = []
        for name, module in net.fusions.items():
            module.register_forward_hook(lambda *_, name=name: ran.append(name))

        crops = {name: torch.rand(1, info.channels, 4, 4) for name, info in net.backbone.feature_info.items()}
        run_network(net, torch.rand(1, 1, 32, 32), crops, Instances(torch.tensor([[8.0, 8, 24, 24]]), (32, 32)))

        expected = {0: [], 7: STAGE_NAMES[:7], 6: STAGE_NAMES[7:], 13: STAGE_NAMES}[rows]
        assert ran == list(expected)
        assert [name for name, part in net.fusions.items() if next(part.parameters()).requires_grad] == ran

    def test_encoder_is_conv1_to_conv7(self):
        assert STAGE_NAMES[6] == 'conv7'
        assert STAGE_NAMES[7] == 'up8'

    def test_unknown_part(self):
        with pytest.raises(ValueError, match="fused must be one of none, encoder, decoder, both, but got 'all'"):
            FusionNetwork(width=1 / 16, fused='all')

    def test_rows_by_name_have_the_only_modules(self):
        net = FusionNetwork(width=1 / 16, fused=['up8', 'conv3'])

        assert tuple(net.fusions) == net.fused_rows == ('conv3', 'up8')

    def test_unknown_row(self):
        with pytest.raises(ValueError, match='there is no row conv11 to fuse at; known are conv1, conv2'):
            FusionNetwork(width=1 / 16, fused=['conv11'])

    def test_a_width_beside_a_backbone(self):
        with pytest.raises(ValueError, match=r'width is part of the backbone, but got 0\.5 beside it'):
            FusionNetwork({'type': 'ColorizationBackbone'}, width=0.5)

    def test_entries_are_named_as_in_every_checkpoint(self):
        names = FusionNetwork(width=1 / 16).state_dict()

        assert {name.split('.')[0] for name in names} == {'stages', 'class_head', 'ab_head', 'fusions'}


class TestMasks:
    """The paper's Table 3c: masks in place of learned weights."""

    @pytest.fixture
    def crops(self) -> Tensor:
        """Two instances whose features are all ones and all twos."""
        return torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 6, 4, 4)

    def fused(self, crops: Tensor, instances: Instances, mask: str = 'box') -> Tensor:
        """(H, W): the fused feature of an image that is zero everywhere."""
        single = fuse(MaskFusion(channels=6, mask=mask), torch.zeros(1, 6, 8, 8), crops, instances)
        streamed = fuse(MaskFusion(channels=6, mask=mask), torch.zeros(1, 6, 8, 8), crops, instances, chunk=1)
        assert torch.equal(single, streamed)
        return single[0, 0]

    @pytest.mark.parametrize(('scores', 'on_top'), [([0.9, 0.5], 1), ([0.5, 0.9], 2), ([0.7, 0.7], 1)], ids=str)
    def test_the_higher_score_lies_on_top(self, crops, scores, on_top):
        instances = Instances(torch.tensor([[0.0, 0, 6, 6], [4, 4, 8, 8]]), (8, 8), torch.tensor(scores))

        expected = torch.zeros(8, 8)
        expected[4:8, 4:8] = 2
        expected[0:6, 0:6] = 1
        expected[4:6, 4:6] = on_top
        assert torch.equal(self.fused(crops, instances), expected)

    def test_an_instances_own_mask(self, crops):
        boxes = torch.tensor([[0.0, 0, 16, 16], [8, 8, 16, 16]])
        masks = torch.zeros(2, 16, 16, dtype=torch.bool)
        masks[0, :16, :4] = True
        masks[1, 8:12, 8:16] = True

        expected = torch.zeros(8, 8)
        expected[:, :2] = 1
        expected[4:6, 4:8] = 2
        instances = Instances(boxes, (16, 16)).with_masks(masks)
        assert torch.equal(self.fused(crops, instances, 'instance'), expected)

    def test_images_keep_to_themselves(self, crops):
        instances = Instances(
            torch.tensor([[0.0, 0, 4, 8], [4, 0, 8, 8]]), torch.tensor([[8, 8]] * 2), image_index=torch.tensor([0, 1])
        )
        fused = fuse(MaskFusion(channels=6), torch.zeros(2, 6, 8, 8), crops, instances)[:, 0]

        assert fused[0].unique().tolist() == [0, 1]
        assert fused[1].unique().tolist() == [0, 2]

    def test_it_has_the_learned_fusions_entries_and_trains_none(self):
        module = MaskFusion(channels=6)

        assert module.state_dict().keys() == InstanceFusion(channels=6).state_dict().keys()
        assert not any(parameter.requires_grad for parameter in module.parameters())

    def test_masks_that_are_not_there(self, crops):
        instances = Instances(torch.tensor([[0.0, 0, 6, 6], [4, 4, 8, 8]]), (8, 8))

        with pytest.raises(ValueError, match="the weights are the instances' masks, but these instances have none"):
            self.fused(crops, instances, 'instance')

    def test_unknown_mask(self):
        with pytest.raises(ValueError, match="mask must be 'box' or 'instance', but got 'polygon'"):
            MaskFusion(channels=6, mask='polygon')
