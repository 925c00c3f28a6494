"""Files of ECCV16 and of other methods, told apart and loaded strictly."""

import json
from pathlib import Path

import pytest
import torch

from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints import CheckpointError, load_checkpoint, load_from_local, save_checkpoint
from insta_colorization.models import InstColorizer, LiteBackbone
from insta_colorization.models.patch import Eccv16Network, PatchColorizer

GOLDEN = Path(__file__).parents[3] / 'golden'
SMALL = {'type': 'Eccv16Network', 'width': 1 / 16}
TRUNK = {'type': 'ColorizationBackbone', 'width': 1 / 16}


@pytest.fixture(scope='module')
def model() -> PatchColorizer:
    return PatchColorizer(SMALL).eval()


@pytest.fixture
def released(model, tmp_path) -> Path:
    return save_checkpoint(model.state_dict(), tmp_path / 'colorization_release_v2-9b330a0b.pth', 'eccv16')[0]


def test_a_written_file_has_the_released_names(released):
    entries = torch.load(released, weights_only=True)['state_dict']
    keys = json.loads((GOLDEN / 'eccv16_keys.json').read_text())

    assert set(entries) == set(keys)
    assert entries['model_out.weight'].shape == tuple(keys['model_out.weight'])


@pytest.mark.parametrize('wrapped', [False, True], ids=['bare', 'module.'])
def test_there_and_back_is_the_identity(model, released, tmp_path, wrapped):
    entries = torch.load(released, weights_only=True)['state_dict']
    torch.save({f'module.{name}' if wrapped else name: value for name, value in entries.items()}, released)

    read = load_checkpoint(released)
    again = load_checkpoint(save_checkpoint(read.state_dict, tmp_path / 'ours.safetensors')[0])

    assert (read.family.name, read.layout, read.networks, read.sizes) == (
        *('patch', 'eccv16', ('eccv_net',)),
        {'width': 1 / 16},
    )
    assert again.layout == 'ours'
    torch.testing.assert_close(again.state_dict, dict(model.state_dict()), rtol=0, atol=0)


def test_siggraph17_is_another_file(fused_weights, tmp_path):
    trunk = save_checkpoint(load_checkpoint(fused_weights).state_dict, tmp_path / 'insta', 'instacolorization')[0]

    assert load_checkpoint(trunk).family.name == 'insta'


@pytest.mark.parametrize(
    ('change', 'fault'),
    [
        pytest.param(lambda e: e.pop('model3.2.bias'), r'lacks model3\.2\.bias', id='lacks'),
        pytest.param(lambda e: e.update({'model9.0.bias': torch.zeros(2)}), r'unknown model9\.0\.bias', id='unknown'),
        pytest.param(lambda e: e.update({'model4.2.bias': torch.zeros(3)}), r'model4\.2\.bias \(3,\)', id='misshapen'),
    ],
)
def test_a_file_that_is_not_exactly_its_layout(released, change, fault):
    entries = torch.load(released, weights_only=True)['state_dict']
    change(entries)
    torch.save(entries, released)

    with pytest.raises(CheckpointError, match=rf"resembles the layout 'eccv16' \(eccv_net\) most, but it .*{fault}"):
        load_checkpoint(released)


class TestTheWrongModel:
    def test_eccv16_for_inst_colorizer(self, released):
        with pytest.raises(ValueError, match=r"config's model must be one of PatchColorizer, but is InstColorizer"):
            colorizer_for(load_checkpoint(released), {'type': 'InstColorizer'})

    @pytest.mark.slow
    def test_eccv16_as_the_start_of_its_training(self, released):
        model = InstColorizer(TRUNK, TRUNK, {'type': 'FusionNetwork', 'width': 1 / 16})

        with pytest.raises(CheckpointError, match=r'9b330a0b\.pth holds eccv_net, but InstColorizer starts from'):
            model.load_state_dict(load_from_local(str(released))['state_dict'])

    def test_inst_colorizer_for_eccv16(self, model, fused_weights):
        with pytest.raises(CheckpointError, match=r'has no eccv_net, which PatchColorizer needs \(it has image_net'):
            model.load_state_dict(load_from_local(str(fused_weights))['state_dict'])

    def test_a_fusion_network_alone_colours_nothing(self, fused_weights, tmp_path):
        weights = load_checkpoint(fused_weights).state_dict
        fusion = {name: value for name, value in weights.items() if name.startswith('fusion_net.')}
        path = save_checkpoint(fusion, tmp_path / 'fusion.pth')[0]

        with pytest.raises(CheckpointError, match='holds only fusion_net; prediction needs the image_net'):
            colorizer_for(load_checkpoint(path), {'type': 'PatchColorizer'})


class TestBorrowedNetworks:
    CONFIG = {'type': 'PatchColorizer', 'eccv_net': SMALL, 'curve_strength': 0.5, 'losses': {}}

    def test_of_inst_colorizer(self, fused_weights):
        checkpoint = load_checkpoint(fused_weights)

        model = colorizer_for(checkpoint, self.CONFIG)

        assert (model.networks, model.curve_strength) == (('image_net', 'instance_net'), 0.5)
        for name, value in model.state_dict().items():
            assert torch.equal(value, checkpoint.state_dict[name]), name

    def test_of_the_full_image_network_alone(self, image_weights):
        assert colorizer_for(load_checkpoint(image_weights), self.CONFIG).networks == ('image_net',)

    @pytest.mark.slow
    def test_of_the_light_backbone(self, tmp_path):
        network = LiteBackbone(width=1 / 16)
        entries = {f'image_net.{name}': value for name, value in network.state_dict().items()}

        model = colorizer_for(load_checkpoint(save_checkpoint(entries, tmp_path / 'lite.pth')[0]), self.CONFIG)

        assert type(model.image_net) is LiteBackbone
        assert model.size_divisor == 32

    def test_that_want_another_mask_centre(self, image_weights, tmp_path):
        path = tmp_path / 'a.pth'
        save_checkpoint(load_checkpoint(image_weights).state_dict, path, metadata={'mask_centre': '0'})

        assert colorizer_for(load_checkpoint(path), self.CONFIG).image_net.mask_centre == 0

    def test_and_the_other_way_round(self, released):
        config = {'type': 'PatchColorizer', 'image_net': TRUNK, 'instance_net': TRUNK}

        assert type(colorizer_for(load_checkpoint(released), config).eccv_net) is Eccv16Network


class TestDecoder:
    ANNEALED = {'type': 'AnnealedMeanDecoder', 'temperature': 0.38}

    @pytest.mark.parametrize(('layout', 'decoder'), [('eccv16', 'Regression'), ('ours', 'AnnealedMean')])
    def test_released_weights_have_their_temperature_inside(self, model, tmp_path, layout, decoder):
        path = save_checkpoint(model.state_dict(), tmp_path / 'a.pth', layout)[0]

        built = colorizer_for(load_checkpoint(path), {'type': 'PatchColorizer', 'decoder': self.ANNEALED})

        assert type(built.decoder).__name__ == f'{decoder}Decoder'

    def test_what_was_trained_with_is_noted(self, released):
        family = load_checkpoint(released).family

        assert json.loads(family.metadata({'decoder': self.ANNEALED})['decoder']) == self.ANNEALED
        assert json.loads(family.metadata({})['decoder']) == {'type': 'RegressionDecoder'}
