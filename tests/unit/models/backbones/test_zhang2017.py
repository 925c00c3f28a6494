import json
from math import prod

import pytest
import torch
from torch import nn

from insta_colorization.models import STAGES, ColorizationBackbone, network_input
from insta_colorization.models.backbones.zhang2017 import STAGE_NAMES, scaled_widths

CONVOLVING = [row for row in STAGES if not row.skip]
UPSAMPLING = [row for row in STAGES if row.skip]
# Some that are asked for, out of order; the last of them is the eighth row.
ROWS = ('up8', 'conv2', 'conv7')


@pytest.fixture
def net(lively) -> ColorizationBackbone:
    return lively(ColorizationBackbone(width=1 / 16))


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return network_input(torch.rand(2, 1, 32, 48) - 0.5)


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
        lightness, hint_ab = torch.rand(1, 1, 8, 8), torch.rand(1, 2, 8, 8)
        hint_mask = torch.zeros(1, 1, 8, 8)
        hint_mask[..., 2, 3] = 1

        channels = network_input(lightness, hint_ab, hint_mask)

        assert torch.equal(channels[:, 1:3], hint_ab)
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

        feature = net(x).features['conv10']

        assert [type(layer) for layer in layers] == [nn.ReLU, nn.Conv2d, nn.LeakyReLU]
        assert (convolved[0] < 0).any()
        expected = torch.maximum(convolved[0], 0.2 * convolved[0])
        torch.testing.assert_close(feature, expected)

    def test_the_ab_head_is_a_1x1_convolution_and_tanh(self, net, x):
        convolution, squash = net.ab_head
        ab, _, features = net(x)

        assert (convolution.kernel_size, type(squash)) == ((1, 1), nn.Tanh)
        mixed = torch.einsum('oi,nihw->nohw', convolution.weight[:, :, 0, 0], features['conv10'])
        torch.testing.assert_close(ab, (mixed + convolution.bias.view(1, 2, 1, 1)).tanh(), atol=1e-6, rtol=1e-5)

    @pytest.mark.parametrize('row', UPSAMPLING, ids=lambda row: row.name)
    def test_up_adds_a_transposed_convolution_and_one_of_the_skipped_feature(self, net, x, row):
        stage = net.stages[row.name]
        up_in, up_out = seen_by(stage.up)
        skip_in, skip_out = seen_by(stage.skip)
        _, out = seen_by(stage)

        features = net(x).features

        assert (stage.up.kernel_size, stage.up.stride, stage.up.padding) == ((4, 4), (2, 2), (1, 1))
        assert (stage.skip.kernel_size, stage.skip.padding) == ((3, 3), (1, 1))
        assert torch.equal(skip_in[0], features[row.skip])
        assert torch.equal(out[0], up_out[0] + skip_out[0])
        assert up_out[0].shape[-1] == 2 * up_in[0].shape[-1]

    @pytest.mark.parametrize('row', UPSAMPLING, ids=lambda row: row.name)
    def test_up_features_are_rectified(self, net, x, row):
        _, out = seen_by(net.stages[row.name])

        feature = net(x).features[row.name]

        assert (out[0] < 0).any()
        assert torch.equal(feature, out[0].clamp(min=0))

    def test_fusion_sees_the_up_sums_before_they_are_rectified(self, net, x):
        seen = {}

        def fuse(name, feature):
            seen[name] = feature.clone()
            return feature

        net(x, fuse=fuse)

        assert tuple(seen) == STAGE_NAMES
        for row in UPSAMPLING:
            assert (seen[row.name] < 0).any(), row.name

    @pytest.mark.parametrize(('name', 'before'), [('conv2', 'conv1'), ('conv3', 'conv2'), ('conv4', 'conv3')])
    def test_size_is_halved_by_taking_every_second_cell(self, net, x, name, before):
        got, _ = seen_by(net.stages[name])

        features = net(x).features

        assert torch.equal(got[0], features[before][:, :, ::2, ::2])

    def test_what_fuse_returns_goes_on(self, net, x):
        plain = net(x)

        def fuse(name, feature):
            return feature * 2 if name == 'conv7' else feature

        fused = net(x, fuse=fuse)

        torch.testing.assert_close(fused.features['conv7'], 2 * plain.features['conv7'])
        assert torch.equal(fused.features['conv6'], plain.features['conv6'])
        assert not torch.allclose(fused.ab, plain.ab)


class TestOutput:
    def test_shapes(self, net, x):
        ab, class_logits, features = net(x, classify=True)

        assert ab.shape == (2, 2, 32, 48)
        assert class_logits.shape == (2, 529, 8, 12)
        assert tuple(features) == STAGE_NAMES
        for name, feature in features.items():
            stride = net.strides[name]
            assert feature.shape == (2, net.channels[name], 32 // stride, 48 // stride)

    def test_the_class_head_runs_only_on_request(self, net, x):
        runs, _ = seen_by(net.class_head)

        assert net(x).class_logits is None
        assert not runs
        assert net(x, classify=True).class_logits is not None
        assert len(runs) == 1

    def test_the_class_head_reads_conv8(self, net, x):
        got, _ = seen_by(net.class_head)

        assert torch.equal(net(x, classify=True).features['conv8'], got[0])

    @pytest.mark.parametrize('size', [(30, 32), (32, 4), (0, 8)], ids=str)
    def test_sizes_must_be_multiples_of_eight(self, net, size):
        with pytest.raises(ValueError, match=f'multiples of 8, but got {size[0]} x {size[1]}'):
            net(torch.zeros(1, 4, *size))


class TestWorkNotDone:
    def test_features_alone_need_no_head_and_no_row_after_the_last(self, net, x):
        expected = net(x).features
        ran, read = [], {}
        for name, module in (*net.stages.items(), ('ab_head', net.ab_head), ('class_head', net.class_head)):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))

        colors = net(x, keep=(), read={name: lambda feature, name=name: read.update({name: feature}) for name in ROWS})

        assert ran == list(STAGE_NAMES[:8])
        assert {name: torch.equal(feature, expected[name]) for name, feature in read.items()} == dict.fromkeys(
            ROWS, True
        )
        assert colors.ab.shape[1] == 0
        assert colors.features == {}

    def test_only_what_is_to_be_kept_is(self, net, x):
        assert tuple(net(x, keep=('conv3', 'up9')).features) == ('conv3', 'up9')

    def test_in_place_without_gradients_is_the_same(self, net, x):
        with_gradients = net(x)
        with torch.no_grad():
            without = net(x)

        assert torch.equal(without.ab, with_gradients.ab)
        for name, feature in without.features.items():
            assert torch.equal(feature, with_gradients.features[name])

    def test_the_input_is_left_alone(self, net, x):
        before = x.clone()
        with torch.no_grad():
            net(x)

        assert torch.equal(x, before)

    def test_gradients_reach_every_weight(self, net, x):
        net(x).ab.square().sum().backward()

        assert all(p.grad.abs().max() > 0 for name, p in net.named_parameters() if 'class_head' not in name)
