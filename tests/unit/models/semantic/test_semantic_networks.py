import json
from pathlib import Path

import pytest
import torch

from insta_colorization.models.semantic import GridSegmenter, SemanticColorNet

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
    def test_any_multiple(self, height, width):
        gray, ids = torch.rand(2, 1, height, width), torch.zeros(2, height, width, dtype=torch.long)

        with torch.inference_mode():
            assert GridSegmenter(1 / 16)(gray).shape == (2, 60, height, width)
            assert SemanticColorNet(1 / 16)(gray, ids).shape == (2, 2, height, width)

    @pytest.mark.parametrize(('network', 'divisor', 'side'), [(GridSegmenter, 16, 40), (SemanticColorNet, 32, 48)])
    def test_other_sizes(self, network, divisor, side):
        inputs = [torch.zeros(1, 1, 64, side), torch.zeros(1, 64, side)][: 1 if network is GridSegmenter else 2]

        with pytest.raises(ValueError, match=f'multiples of {divisor}, but got 64 x {side}'):
            network(1 / 16)(*inputs)


class TestMaps:
    @pytest.fixture(params=[False, True], ids=['number', 'one-hot'])
    def network(self, request, lively) -> SemanticColorNet:
        return lively(SemanticColorNet(1 / 16, one_hot=request.param))

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


def test_a_photo_of_one_tone_has_finite_colours(lively):
    with torch.inference_mode():
        ab = lively(SemanticColorNet(1 / 16))(torch.full((1, 1, 64, 64), 0.3), torch.zeros(1, 64, 64))

    assert ab.isfinite().all()
