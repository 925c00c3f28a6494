import json
from math import prod

import pytest
import torch
from torch import nn

from insta_colorization.models import STAGES, ColorizationBackbone, network_input
from insta_colorization.models.backbones.zhang2017 import STAGE_NAMES, scaled_widths

CONVOLVING = [row for row in STAGES if not row.skip]
UPSAMPLING = [row for row in STAGES if row.skip]


@pytest.fixture
def net(lively) -> ColorizationBackbone:
    return lively(ColorizationBackbone(width=1 / 16))


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(2, 1, 32, 48) - 0.5


def features_of(net: ColorizationBackbone, x: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: feature.clone() for name, feature in net.rows(x)}


def seen_by(module: nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Lists that fill with copies of what a module gets and gives; copies, because something may change them later."""
    got, gave = [], []

    def keep(_: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        got.append(inputs[0].clone())
        gave.append(output.clone())

    module.register_forward_hook(keep)
    return got, gave


class TestInput:
    def test_without_hints_the_mask_channel_is_minus_a_half(self):
        lightness = torch.rand(2, 1, 8, 8)

        channels = network_input(lightness)

        assert channels.shape == (2, 4, 8, 8)
        assert torch.equal(channels[:, :1], lightness)
        assert (channels[:, 1:3] == 0).all()
        assert (channels[:, 3] == -0.5).all()

    def test_hints_keep_their_channels(self):
        lightness, hints = torch.rand(1, 1, 8, 8), torch.rand(1, 3, 8, 8)
        hints[:, 2] = 0
        hints[:, 2, 2, 3] = 1

        channels = network_input(lightness, hints)

        assert torch.equal(channels[:, 1:3], hints[:, :2])
        assert channels[0, 3, 2, 3] == 0.5
        assert channels[0, 3].sum() == -0.5 * 63 + 0.5

    def test_the_mask_centre_of_the_uncentred_release(self):
        assert (network_input(torch.rand(1, 1, 8, 8), mask_centre=0.0)[:, 3] == 0).all()


class TestTable:
    def test_the_published_channels_strides_and_dilations(self):
        # Zhang et al. 2017, Figure 2: the U-Net of 'Real-Time User-Guided Image Colorization'.
        published = {
            'conv1': (64, 1, 1, 2),
            'conv2': (128, 2, 1, 2),
            'conv3': (256, 4, 1, 3),
            'conv4': (512, 8, 1, 3),
            'conv5': (512, 8, 2, 3),
            'conv6': (512, 8, 2, 3),
            'conv7': (512, 8, 1, 3),
            'conv8': (256, 4, 1, 2),
            'conv9': (128, 2, 1, 1),
            'conv10': (128, 1, 1, 1),
        }

        ours = {row.name: (row.width, row.stride, row.dilation, row.convs) for row in CONVOLVING}

        assert ours == published
        assert {row.name: (row.width, row.skip) for row in UPSAMPLING} == {
            'up8': (256, 'conv3'),
            'up9': (128, 'conv2'),
            'up10': (128, 'conv1'),
        }

    def test_one_factor_scales_every_width(self):
        assert scaled_widths(0.25)['conv1'] == 16
        assert scaled_widths(0.25)['conv7'] == 128
        assert min(scaled_widths(1e-6).values()) == 1

    def test_the_published_size_has_34_million_weights(self, root):
        published = json.loads((root / 'tests' / 'golden' / 'insta_G_keys.json').read_text())
        statistics = ('running_mean', 'running_var', 'num_batches_tracked')
        with torch.device('meta'):
            net = ColorizationBackbone()

        count = sum(prod(shape) for name, shape in published.items() if not name.endswith(statistics))
        assert sum(parameter.numel() for parameter in net.parameters()) == count
        assert len(net.state_dict()) == len(published)


class TestRows:
    @pytest.mark.parametrize('row', [row for row in CONVOLVING if row.name != 'conv10'], ids=lambda row: row.name)
    def test_convolutions_with_relu_closed_by_one_batch_norm(self, net, row):
        layers = [type(layer) for layer in net.stages[row.name]]

        after_skip = [nn.ReLU] if row.name in ('conv8', 'conv9') else []
        assert layers == after_skip + [nn.Conv2d, nn.ReLU] * row.convs + [nn.BatchNorm2d]
        for layer in net.stages[row.name]:
            if isinstance(layer, nn.Conv2d):
                assert (layer.kernel_size, layer.padding, layer.dilation) == ((3, 3), *[(row.dilation,) * 2] * 2)

    def test_conv10_ends_in_a_leaky_relu_without_batch_norm(self, net, x):
        layers = list(net.stages['conv10'])
        _, convolved = seen_by(layers[1])

        feature = features_of(net, x)['conv10']

        assert [type(layer) for layer in layers] == [nn.ReLU, nn.Conv2d, nn.LeakyReLU]
        assert (convolved[0] < 0).any()
        expected = torch.maximum(convolved[0], 0.2 * convolved[0])
        torch.testing.assert_close(feature, expected)

    def test_the_ab_head_is_a_1x1_convolution_and_tanh(self, net, x):
        convolution, squash = net.ab_head
        ab, features = net(x).ab, features_of(net, x)

        assert (convolution.kernel_size, type(squash)) == ((1, 1), nn.Tanh)
        mixed = torch.einsum('oi,nihw->nohw', convolution.weight[:, :, 0, 0], features['conv10'])
        torch.testing.assert_close(ab, (mixed + convolution.bias.view(1, 2, 1, 1)).tanh(), atol=1e-6, rtol=1e-5)

    @pytest.mark.parametrize('row', UPSAMPLING, ids=lambda row: row.name)
    def test_up_adds_a_transposed_convolution_and_one_of_the_skipped_feature(self, net, x, row):
        stage = net.stages[row.name]
        up_in, up_out = seen_by(stage.up)
        skip_in, skip_out = seen_by(stage.skip)
        _, out = seen_by(stage)

        features = features_of(net, x)

        assert (stage.up.kernel_size, stage.up.stride, stage.up.padding) == ((4, 4), (2, 2), (1, 1))
        assert (stage.skip.kernel_size, stage.skip.padding) == ((3, 3), (1, 1))
        assert torch.equal(skip_in[0], features[row.skip])
        assert torch.equal(out[0], up_out[0] + skip_out[0])
        assert up_out[0].shape[-1] == 2 * up_in[0].shape[-1]

    @pytest.mark.parametrize('row', UPSAMPLING, ids=lambda row: row.name)
    def test_up_features_are_rectified(self, net, x, row):
        _, out = seen_by(net.stages[row.name])

        feature = features_of(net, x)[row.name]

        assert (out[0] < 0).any()
        assert torch.equal(feature, out[0].clamp(min=0))

    def test_fusion_sees_the_up_sums_before_they_are_rectified(self, net, x):
        seen = {}

        def fuse(name, feature):
            seen[name] = feature.clone()
            return feature

        net(x, visit=fuse)

        assert tuple(seen) == STAGE_NAMES
        for row in UPSAMPLING:
            assert (seen[row.name] < 0).any(), row.name

    @pytest.mark.parametrize(('name', 'before'), [('conv2', 'conv1'), ('conv3', 'conv2'), ('conv4', 'conv3')])
    def test_size_is_halved_by_taking_every_second_cell(self, net, x, name, before):
        got, _ = seen_by(net.stages[name])

        features = features_of(net, x)

        assert torch.equal(got[0], features[before][:, :, ::2, ::2])

    def test_what_fuse_returns_goes_on(self, net, x):
        plain = features_of(net, x)

        def fuse(name, feature):
            return feature * 2 if name == 'conv7' else feature

        fused = {name: feature.clone() for name, feature in net.rows(x, visit=fuse)}

        torch.testing.assert_close(fused['conv7'], 2 * plain['conv7'])
        assert torch.equal(fused['conv6'], plain['conv6'])
        assert not torch.allclose(net(x, visit=fuse).ab, net(x).ab)


class TestOutput:
    def test_shapes(self, net, x):
        ab, class_logits = net(x, classify=True)
        features = features_of(net, x)

        assert ab.shape == (2, 2, 32, 48)
        assert class_logits.shape == (2, 529, 8, 12)
        assert tuple(features) == STAGE_NAMES
        for name, feature in features.items():
            channels, stride = net.feature_info[name]
            assert feature.shape == (2, channels, 32 // stride, 48 // stride)

    def test_the_class_head_runs_only_on_request(self, net, x):
        runs, _ = seen_by(net.class_head)

        assert net(x).class_logits is None
        assert not runs
        assert net(x, classify=True).class_logits is not None
        assert len(runs) == 1

    def test_the_class_head_reads_conv8(self, net, x):
        got, _ = seen_by(net.class_head)

        net(x, classify=True)
        assert torch.equal(features_of(net, x)['conv8'], got[0])

    @pytest.mark.parametrize('size', [(30, 32), (32, 4), (0, 8)], ids=str)
    def test_sizes_must_be_multiples_of_eight(self, net, size):
        with pytest.raises(ValueError, match=f'multiples of 8, but got {size[0]} x {size[1]}'):
            net(torch.zeros(1, 1, *size))


class TestWorkNotDone:
    def test_who_stops_reading_rows_runs_no_head_and_no_further_row(self, net, x):
        ran = []
        for name, module in (*net.stages.items(), ('ab_head', net.ab_head), ('class_head', net.class_head)):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))

        for name, _ in net.rows(x):
            if name == 'up8':
                break

        assert ran == list(STAGE_NAMES[:8])

    def test_in_place_without_gradients_is_the_same(self, net, x):
        with_gradients, ab = features_of(net, x), net(x).ab
        with torch.no_grad():
            without = features_of(net, x)
            assert torch.equal(net(x).ab, ab)

        for name, feature in without.items():
            assert torch.equal(feature, with_gradients[name])

    def test_the_input_is_left_alone(self, net, x):
        before = x.clone()
        with torch.no_grad():
            net(x)

        assert torch.equal(x, before)

    def test_gradients_reach_every_weight(self, net, x):
        net(x).ab.square().sum().backward()

        assert all(p.grad.abs().max() > 0 for name, p in net.named_parameters() if 'class_head' not in name)
