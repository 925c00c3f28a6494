import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from insta_colorization.colorspace import AB_RANGE
from insta_colorization.models import AnnealedMeanDecoder, RebalancedClassLoss
from insta_colorization.models.losses import rebalancing_weights
from insta_colorization.models.patch import BINS, Eccv16Network

GOLDEN = Path(__file__).parents[3] / 'golden'
PRIOR = json.loads((Path(__file__).parents[4] / 'projects/insta_colorization/weights/ab_prior.json').read_text())


def published(weights: dict[str, torch.Tensor], lightness: torch.Tensor) -> torch.Tensor:
    """The network as its paper's table has it, layer by layer, from our names; ab in network units."""

    def conv(name: str, x: torch.Tensor, **settings: int) -> torch.Tensor:
        return F.conv2d(x, weights[f'{name}.weight'], weights[f'{name}.bias'], **settings)

    x = lightness
    for number in range(1, 8):
        dilation = 2 if number in (5, 6) else 1
        convs = 2 if number < 3 else 3
        for index in range(convs):
            stride = 2 if number < 4 and index == convs - 1 else 1
            name = f'stages.conv{number}.{2 * index}'
            x = conv(name, x, stride=stride, padding=dilation, dilation=dilation).relu()
        norm = [weights[f'stages.conv{number}.{2 * convs}.{kind}'] for kind in ('running_mean', 'running_var')]
        scale = [weights[f'stages.conv{number}.{2 * convs}.{kind}'] for kind in ('weight', 'bias')]
        x = F.batch_norm(x, *norm, *scale)
    up = [weights[f'stages.up8.up.{kind}'] for kind in ('weight', 'bias')]
    x = F.conv_transpose2d(x, *up, stride=2, padding=1).relu()
    for layer in (1, 3):
        x = conv(f'stages.conv8.{layer}', x, padding=1).relu()
    shares = conv('class_head', x).softmax(dim=1)
    return F.interpolate(F.conv2d(shares, weights['bin_colours']), scale_factor=4, mode='bilinear')


@torch.inference_mode()
def test_it_is_the_network_of_the_papers_table(lively):
    network = lively(Eccv16Network(width=1 / 16))
    lightness = torch.rand(2, 1, 24, 40, generator=torch.Generator().manual_seed(0)) - 0.5

    ours = network(lightness, classify=True)

    torch.testing.assert_close(ours.ab, published(network.state_dict(), lightness), atol=1e-6, rtol=1e-5)
    assert ours.class_logits.shape == (2, 313, 6, 10)
    assert network(lightness).class_logits is None


def test_names_and_shapes_are_those_of_the_released_file():
    keys = json.loads((GOLDEN / 'eccv16_keys.json').read_text())
    with torch.device('meta'):
        shapes = [list(value.shape) for value in Eccv16Network().state_dict().values()]

    assert sorted(shapes) == sorted(keys.values())
    assert sum(p.numel() for p in Eccv16Network(1 / 16).parameters()) < 200_000


def test_features_are_what_it_says(lively):
    network = lively(Eccv16Network(width=1 / 16))

    for name, feature in network.rows(torch.zeros(1, 1, 16, 32)):
        channels, stride = network.feature_info[name]
        assert feature.shape == (1, channels, 16 // stride, 32 // stride), name


def test_a_size_that_does_not_fit():
    with pytest.raises(ValueError, match='multiples of 8, but got 12 x 16'):
        Eccv16Network(width=1 / 16)(torch.zeros(1, 1, 12, 16))


class TestBins:
    def test_there_are_313_and_the_file_holds_them_in_this_order(self):
        assert len(BINS) == 313
        assert BINS.cells.tolist() == sorted(BINS.cells.tolist())
        centres = (BINS.centres * AB_RANGE).round().int().tolist()
        assert [centres[0], centres[-1]] == [[-90, 50], [100, 0]]
        assert [0, 0] in centres
        torch.testing.assert_close(Eccv16Network(1 / 16).bin_colours[:, :, 0, 0].T, BINS.centres)

    def test_every_class_that_occurs_is_one_of_them(self):
        occurring = np.flatnonzero(PRIOR)

        assert len(occurring) == 253
        assert set(occurring) <= set(BINS.cells.tolist())

    def test_a_prior_of_all_classes_gives_theirs(self):
        loss = RebalancedClassLoss('ab_prior.json', bins=BINS, max_weight=1000.0, targets='soft')

        own = torch.tensor(PRIOR)[BINS.cells]
        torch.testing.assert_close(loss.class_weights, rebalancing_weights(own, 0.5, float('inf')))

    def test_soft_targets_and_annealed_mean_are_about_them(self):
        ab = BINS.centres[[100]].view(1, 2, 1, 1).expand(1, 2, 16, 16)
        logits = torch.zeros(1, 313, 4, 4)
        logits[:, 100] = 20

        right = RebalancedClassLoss(bins=BINS, targets='soft')(ab, logits, ab)
        wrong = RebalancedClassLoss(bins=BINS, targets='soft')(ab, logits.roll(1, dims=1), ab)

        assert right < wrong
        torch.testing.assert_close(AnnealedMeanDecoder(bins=BINS)(ab, logits), ab.contiguous(), atol=1e-4, rtol=0)

    def test_a_prior_of_another_length(self):
        with pytest.raises(ValueError, match=r'must hold 313 numbers, but got \(7,\)'):
            RebalancedClassLoss([1.0] * 7, bins=BINS)
