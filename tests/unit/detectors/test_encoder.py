import pytest
import torch
from safetensors.torch import load_file, save_file

from insta_colorization.checkpoints import CheckpointError
from insta_colorization.colorspace import lightness_to_gray
from insta_colorization.detectors import FrozenEncoder
from insta_colorization.models import ImageColorizer

ROWS = ('enc16', 'enc32')


@pytest.fixture(scope='module')
def encoder(colour_weights):
    return FrozenEncoder(colour_weights, ROWS)


@pytest.fixture
def gray():
    return torch.randint(256, (2, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_features_are_those_that_the_colour_network_has(tmp_path):
    torch.manual_seed(0)
    model = ImageColorizer(image_net={'type': 'LiteBackbone', 'width': 1 / 16}).eval()
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'iter_1.pth')
    lightness = torch.rand(1, 1, 64, 64) - 0.5
    rows = dict(model.image_net.rows(lightness))
    gray = (lightness_to_gray(lightness)[:, 0] * 255).round().byte()

    features = FrozenEncoder(tmp_path / 'iter_1.pth', ROWS)(gray)

    for row in ROWS:
        # 8-bit pixels differ from the lightness by up to half a grey value.
        assert torch.corrcoef(torch.stack([features[row].flatten(), rows[row].flatten()]))[0, 1] > 0.999


def test_shapes(encoder, gray):
    features = encoder(gray)

    assert {row: tuple(feature.shape) for row, feature in features.items()} == {
        'enc16': (2, 112, 4, 6),
        'enc32': (2, 320, 2, 3),
    }
    assert not any(feature.requires_grad for feature in features.values())


@pytest.mark.slow
def test_what_was_kept_is_what_comes_out(colour_weights, gray, tmp_path, monkeypatch):
    encoder = FrozenEncoder(colour_weights, ROWS, cache=tmp_path)
    first = encoder(gray[:1])
    both = encoder(gray)
    monkeypatch.setattr(encoder, '_encode', None)

    again = encoder(gray.flip(0))

    for row in ROWS:
        assert torch.equal(first[row], both[row][:1])
        assert torch.equal(again[row], both[row].flip(0))
        assert torch.allclose(FrozenEncoder(colour_weights, ROWS)(gray)[row], both[row], atol=1e-2)


@pytest.mark.slow
def test_the_cache_of_another_encoder_is_not_read(colour_weights, gray, tmp_path):
    entries = load_file(colour_weights)
    name = 'image_net.encoder.blocks.6.0.layers.6.weight'
    other = tmp_path / 'other.safetensors'
    save_file({**entries, name: entries[name] + 1}, other)

    features = [FrozenEncoder(path, ROWS, cache=tmp_path)(gray)['enc32'] for path in (colour_weights, other)]

    assert not torch.allclose(*features)


def test_what_it_is_called_does_not_depend_on_the_file(encoder, colour_weights, tmp_path):
    torch.save(load_file(colour_weights), tmp_path / 'again.pth')

    assert FrozenEncoder(tmp_path / 'again.pth', ROWS).sha256 == encoder.sha256


@pytest.mark.parametrize(
    ('entries', 'rows', 'error', 'message'),
    [
        pytest.param(None, ROWS, CheckpointError, 'does not exist', id='missing'),
        pytest.param({'a': torch.zeros(1)}, ROWS, ValueError, 'none of its 1 entries begins with', id='other model'),
        pytest.param(
            {'image_net.encoder.a': torch.zeros(1)},
            ROWS,
            ValueError,
            'another encoder than EfficientNetLite',
            id='names',
        ),
        pytest.param({}, ('enc64',), ValueError, "no row 'enc64', but has enc2, enc4, enc8, enc16, enc32", id='row'),
    ],
)
def test_refuses(entries, rows, error, message, colour_weights, tmp_path):
    path = tmp_path / 'weights.safetensors'
    if entries is not None:
        save_file(entries or load_file(colour_weights), path)

    with pytest.raises(error, match=message):
        FrozenEncoder(path, rows)
