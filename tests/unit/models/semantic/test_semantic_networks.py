import json
from pathlib import Path

import pytest
import torch

from insta_colorization.checkpoints import save_checkpoint
from insta_colorization.colorspace import from_signed, lightness_to_gray
from insta_colorization.models import ImageColorizer
from insta_colorization.models.semantic import GridSegmenter, LiteColorNet, LiteSegmenter, SemanticColorNet

GOLDEN = Path(__file__).parents[3] / 'golden'


def number(name: str) -> int:
    """How many weights the published table has."""
    shapes = json.loads((GOLDEN / f'semantic_{name}_keys.json').read_text())
    return sum(torch.Size(shape).numel() for shape in shapes.values())


class TestSizes:
    @pytest.mark.parametrize(('network', 'table'), [(GridSegmenter, 'seg'), (SemanticColorNet, 'color')])
    def test_as_published(self, network, table):
        with torch.device('meta'):
            entries = network().state_dict().values()

        assert sum(entry.numel() for entry in entries) == number(table)

    @pytest.mark.parametrize(('height', 'width'), [(64, 96), (128, 64)])
    @pytest.mark.slow
    def test_any_multiple(self, height, width):
        gray, ids = torch.rand(2, 1, height, width), torch.zeros(2, height, width, dtype=torch.long)

        with torch.inference_mode():
            assert GridSegmenter(1 / 16)(gray).shape == (2, 60, height, width)
            assert SemanticColorNet(1 / 16)(gray, ids).shape == (2, 2, height, width)

    def test_the_light_segmenter_has_a_quarter_of_the_photos_size(self):
        with torch.inference_mode():
            assert LiteSegmenter(1 / 16)(torch.rand(2, 1, 64, 96)).shape == (2, 60, 16, 24)

    @pytest.mark.parametrize(
        ('network', 'divisor', 'side'),
        [(GridSegmenter, 16, 40), (SemanticColorNet, 32, 48), (LiteSegmenter, 32, 48), (LiteColorNet, 32, 48)],
    )
    def test_other_sizes(self, network, divisor, side):
        inputs = [torch.zeros(1, 1, 64, side), torch.zeros(1, 64, side)]
        inputs = inputs[: 1 if network in (GridSegmenter, LiteSegmenter) else 2]

        with pytest.raises(ValueError, match=f'multiples of {divisor}, but got 64 x {side}'):
            network(1 / 16)(*inputs)


class TestMaps:
    @pytest.fixture(params=['number', 'one-hot', 'light'])
    def network(self, request, lively) -> SemanticColorNet | LiteColorNet:
        if request.param == 'light':
            return lively(LiteColorNet(1 / 16))
        return lively(SemanticColorNet(1 / 16, one_hot=request.param == 'one-hot'))

    @torch.inference_mode()
    def test_colours_follow_the_map(self, network):
        gray, ids = torch.rand(1, 1, 64, 64), torch.zeros(1, 64, 64, dtype=torch.long)

        assert (network(gray, ids) - network(gray, ids + 59)).abs().max() > 1e-2

    @torch.inference_mode()
    def test_an_edit_reaches_no_further_than_it_says(self, network):
        network = network.double()
        gray = torch.rand(1, 1, 32, 384, dtype=torch.double)
        ids = torch.zeros(1, 32, 384, dtype=torch.long)
        edited = ids.clone()
        edited[:, 10, 20] = 50

        changed = (network(gray, edited) != network(gray, ids)).any(dim=1)[0].any(dim=0).nonzero()[:, 0]

        assert changed.min() == 0
        assert changed.max() <= 20 + network.reach

    @torch.inference_mode()
    def test_the_streams_run_apart(self, network):
        gray, ids = torch.rand(2, 1, 64, 64), torch.randint(0, 60, (2, 64, 64))

        torch.testing.assert_close(network.join(network.see(gray), network.read(ids)), network(gray, ids))

    @torch.inference_mode()
    def test_the_light_one_reaches_just_as_far_as_it_says(self, lively):
        network = lively(LiteColorNet(1 / 16)).double()
        features = [torch.rand_like(feature) for feature in network.see(torch.rand(1, 1, 32, 416, dtype=torch.double))]
        ids = torch.zeros(1, 32, 416, dtype=torch.long)
        reached = []
        for column in (160, 191):  # the two ends of a cell
            edited = ids.clone()
            edited[:, :, column] = 50
            before, after = (network.join(features, network.read(part)) for part in (ids, edited))
            changed = (before != after).any(dim=1)[0].any(dim=0).nonzero()[:, 0]
            reached += [column - changed.min(), changed.max() - column]

        assert max(reached) == network.reach


class TestStart:
    @pytest.fixture
    def model(self) -> ImageColorizer:
        return ImageColorizer({'type': 'LiteBackbone', 'width': 1 / 16})

    @pytest.fixture
    def weights(self, model, tmp_path) -> Path:
        (path,) = save_checkpoint(model.state_dict(), tmp_path / 'colours.safetensors')
        return path

    @torch.inference_mode()
    def test_with_the_colours_of_the_full_image_network_whatever_the_map(self, model, weights):
        lightness = torch.rand(1, 1, 64, 64) - 0.5
        network, ids = LiteColorNet(1 / 16, weights=weights).eval(), torch.randint(0, 60, (1, 64, 64))

        ab = from_signed(network(lightness_to_gray(lightness), ids))

        torch.testing.assert_close(ab, model.eval().image_net(lightness).ab, atol=1e-5, rtol=0)

    def test_of_another_width(self, weights):
        with pytest.raises(
            ValueError,
            match=r'bottleneck.weight of .* has the shape \(10, 320, .*of width 0.125 begins with \(20, 320,',
        ):
            LiteSegmenter(1 / 8, weights=weights)

    def test_of_another_backbone(self, image_weights):
        with pytest.raises(ValueError, match=r'has no image_net\.encoder\.stem\.0\.weight, with which LiteColorNet'):
            LiteColorNet(1 / 16, weights=image_weights)


def test_a_photo_of_one_tone_has_finite_colours(lively):
    with torch.inference_mode():
        ab = lively(SemanticColorNet(1 / 16))(torch.full((1, 1, 64, 64), 0.3), torch.zeros(1, 64, 64))

    assert ab.isfinite().all()
