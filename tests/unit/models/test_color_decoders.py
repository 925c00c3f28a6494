import math

import numpy as np
import pytest
import torch

from insta_colorization.models import AnnealedMeanDecoder, RegressionDecoder, parse_decoder

AB = torch.zeros(1, 2, 16, 16)


def centre(index: int) -> torch.Tensor:
    """Colour of a class in network units, from its definition."""
    return torch.tensor([10 * (index // 23) - 110, 10 * (index % 23) - 110]) / 110


@pytest.fixture
def logits() -> torch.Tensor:
    """The same distribution everywhere, so that upsampling changes nothing."""
    values = torch.randn(529, generator=torch.Generator().manual_seed(0))
    return values.view(1, 529, 1, 1).expand(1, 529, 4, 4)


def test_regression_passes_ab_on():
    ab = torch.rand(1, 2, 4, 4)

    assert RegressionDecoder()(ab, None) is ab
    assert not RegressionDecoder.classify


def test_a_gain_makes_regression_more_colourful():
    ab = torch.rand(1, 2, 4, 4)

    torch.testing.assert_close(RegressionDecoder(gain=1.25)(ab, None) * 4, ab * 5)


def test_an_expansion_favours_strong_colours():
    chroma = torch.tensor([0.0, 5, 20, 30, 80])
    ab = torch.stack([chroma * 0.6, chroma * 0.8]).view(1, 2, 1, 5) / 110

    decoder = RegressionDecoder(gain=2.0, expansion=0.5)

    expected = 2 * chroma * torch.tensor([0, 0.5, 1, 1.5**0.5, 1.5**0.5])
    torch.testing.assert_close(110 * decoder(ab, None).norm(dim=1).flatten(), expected)
    assert decoder.describe() == 'RegressionDecoder, gain 2, expansion 0.5'
    with pytest.raises(ValueError, match='expansion must be at least 0 and finite, but got -1'):
        RegressionDecoder(expansion=-1)


def test_a_temperature_of_one_gives_the_mean(logits):
    shares = np.exp(logits[0, :, 0, 0].double().numpy())
    expected = sum(share * centre(index) for index, share in enumerate(shares / shares.sum()))

    decoded = AnnealedMeanDecoder(temperature=1.0)(AB, logits)

    assert decoded.shape == AB.shape
    torch.testing.assert_close(decoded, expected.float().view(1, 2, 1, 1).expand_as(AB), atol=1e-6, rtol=0)


def test_a_temperature_towards_zero_gives_the_mode(logits):
    mode = int(logits[0, :, 0, 0].argmax())

    decoded = AnnealedMeanDecoder(temperature=1e-3)(AB, logits)

    torch.testing.assert_close(decoded, centre(mode).view(1, 2, 1, 1).expand_as(AB))


def test_a_lower_temperature_is_more_colourful():
    likely = torch.full((1, 529, 4, 4), -9.0)
    likely[:, [11 * 23 + 11, 18 * 23 + 14]] = torch.tensor([0.0, 0.5]).view(1, 2, 1, 1)  # grey, and a strong red

    chroma = [float(AnnealedMeanDecoder(t)(AB, likely).norm(dim=1).mean()) for t in (1.0, 0.38, 0.1)]

    assert chroma[0] < chroma[1] < chroma[2]


def test_brings_a_quarter_to_the_full_size_bilinearly():
    logits = torch.full((1, 529, 1, 2), -100.0)
    logits[0, 23 * 11 + 11, 0, 0] = 0
    logits[0, 23 * 22 + 11, 0, 1] = 0

    decoded = AnnealedMeanDecoder()(torch.zeros(1, 2, 4, 8), logits)

    # Cell centres lie at pixels 1.5 and 5.5; between them a rises evenly from 0 to 1.
    expected = torch.tensor([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1])
    torch.testing.assert_close(decoded[0, 0], expected.expand(4, 8), atol=1e-6, rtol=0)


def test_needs_the_class_head():
    with pytest.raises(ValueError, match='needs class logits'):
        AnnealedMeanDecoder()(AB, None)


@pytest.mark.parametrize('value', [0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ('decoder', 'name'),
    [(RegressionDecoder, 'gain'), (AnnealedMeanDecoder, 'temperature')],
    ids=['gain', 'temperature'],
)
def test_the_number_is_positive_and_finite(decoder, name, value):
    with pytest.raises(ValueError, match=f'^{name} must be positive and finite, but got {value}$'):
        decoder(value)


@pytest.mark.parametrize(
    ('text', 'config'),
    [
        ('regression', {'type': 'RegressionDecoder'}),
        ('regression:1.1', {'type': 'RegressionDecoder', 'gain': 1.1}),
        ('annealed-mean', {'type': 'AnnealedMeanDecoder'}),
        ('annealed-mean:0.5', {'type': 'AnnealedMeanDecoder', 'temperature': 0.5}),
    ],
)
def test_names_on_the_command_line(text, config):
    assert parse_decoder(text) == config


@pytest.mark.parametrize('text', ['mean', 'annealed-mean:hot', 'regression:much', ''])
def test_unknown_names_on_the_command_line(text):
    with pytest.raises(ValueError, match=f"the decoder must be 'regression.* but got '{text}'"):
        parse_decoder(text)


@pytest.mark.parametrize(
    ('text', 'fault'),
    [
        ('regression:nan', 'gain must be positive and finite, but got nan'),
        ('regression:-1', 'gain must be positive and finite, but got -1.0'),
        ('annealed-mean:inf', 'temperature must be positive and finite, but got inf'),
        ('annealed-mean:0', 'temperature must be positive and finite, but got 0.0'),
    ],
)
def test_numbers_out_of_range_on_the_command_line(text, fault):
    with pytest.raises(ValueError, match=f'^{fault}$'):
        parse_decoder(text)
