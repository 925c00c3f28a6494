import warnings

import lpips
import pytest
import torch

from insta_colorization.evaluation.metrics import LPIPS


@pytest.fixture
def network() -> torch.nn.Module:
    """A random trunk under the package's own linear layers; the small trunk, because VGG takes seconds to make."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.manual_seed(0)
        return lpips.LPIPS(net='squeeze', version='0.1', pnet_rand=True, verbose=False)


def test_it_is_the_packages_value_for_inputs_in_minus_one_to_one(network, photos, noisy, monkeypatch):
    monkeypatch.setattr(LPIPS, 'load', lambda self: network)
    metric = LPIPS()

    for truth, prediction in zip(photos, noisy, strict=True):
        with torch.no_grad():
            # `normalize` is the package's own way from 0..1 to -1..1.
            expected = float(network(truth[None] / 255, prediction[None] / 255, normalize=True))
        assert expected > 0.001
        assert metric.measure(truth, prediction)['LPIPS'] == pytest.approx(expected, rel=1e-4)


def test_the_network_is_loaded_once_and_only_when_it_is_needed(network, photos, monkeypatch):
    loaded = []
    monkeypatch.setattr(LPIPS, 'load', lambda self: loaded.append(1) or network.train())
    metric = LPIPS()
    assert not loaded

    for photo in photos:
        metric.measure(photo, photo)

    assert loaded == [1]
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
