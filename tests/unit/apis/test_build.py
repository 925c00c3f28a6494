import json

import pytest
import torch

from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.models import ImageColorizer, InstanceColorizer, InstColorizer

SMALL = {'type': 'ColorizationBackbone', 'width': 1 / 16}
MODELS = {
    1: ImageColorizer(SMALL),
    2: InstanceColorizer(SMALL, SMALL),
    3: InstColorizer(SMALL, SMALL, {'type': 'FusionNetwork', 'width': 1 / 16}),
}
TRAINING = {'losses': {'classes': {'type': 'RebalancedClassLoss'}}, 'norm_eval': True, 'trainable': ['fusion_net']}


@pytest.fixture
def checkpoint(tmp_path):
    def saved(stage: int, **metadata: str):
        (path,) = save_checkpoint(MODELS[stage].state_dict(), tmp_path / 'a.safetensors', metadata=metadata)
        return load_checkpoint(path)

    return saved


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['ImageColorizer', 'InstanceColorizer', 'InstColorizer'])
@pytest.mark.parametrize(('stage', 'built'), [(1, ImageColorizer), (2, ImageColorizer), (3, InstColorizer)])
def test_any_stages_checkpoint_goes_with_any_stages_config(checkpoint, stage, built, kind):
    model = colorizer_for(checkpoint(stage), {'type': kind, **TRAINING})

    assert type(model) is built
    assert not model.training
    torch.testing.assert_close(model.image_net.state_dict(), MODELS[stage].image_net.state_dict())


@pytest.mark.parametrize(
    ('asked', 'written', 'configured', 'used'),
    [
        (None, None, None, 'RegressionDecoder'),
        (None, None, 'AnnealedMeanDecoder', 'AnnealedMeanDecoder'),
        (None, 'AnnealedMeanDecoder', 'RegressionDecoder', 'AnnealedMeanDecoder'),
        ('RegressionDecoder', 'AnnealedMeanDecoder', 'AnnealedMeanDecoder', 'RegressionDecoder'),
    ],
)
@pytest.mark.parametrize('stage', [1, 3])
def test_the_users_decoder_then_the_files_then_the_configs(checkpoint, stage, asked, written, configured, used):
    weights = checkpoint(stage, **({'decoder': f'{{"type": "{written}"}}'} if written else {}))
    cfg = {'type': 'InstColorizer', **({'decoder': {'type': configured}} if configured else {})}

    model = colorizer_for(weights, cfg, {'type': asked} if asked else None)

    assert type(model.decoder).__name__ == used


PRESETS = {'natural': {'type': 'RegressionDecoder', 'gain': 1.5}, 'vivid': {'type': 'AnnealedMeanDecoder'}}


@pytest.mark.parametrize(
    ('asked', 'written', 'configured', 'used'),
    [
        pytest.param({'preset': 'vivid'}, PRESETS, {}, 'AnnealedMeanDecoder, temperature 0.38', id='by name'),
        pytest.param({'preset': 'vivid'}, None, PRESETS, 'AnnealedMeanDecoder, temperature 0.38', id="the config's"),
        pytest.param({'preset': 'natural'}, PRESETS, {'natural': {}}, 'RegressionDecoder, gain 1.5', id='file first'),
        pytest.param({}, PRESETS, {}, 'RegressionDecoder, gain 1.5', id='natural is the default'),
        pytest.param(
            {'decoder': {'type': 'RegressionDecoder'}}, PRESETS, {}, 'RegressionDecoder, gain 1', id='decoder'
        ),
    ],
)
def test_presets(checkpoint, asked, written, configured, used):
    weights = checkpoint(1, **({'presets': json.dumps(written)} if written else {}))

    model = colorizer_for(weights, {'type': 'ImageColorizer', 'presets': configured}, **asked)

    assert model.decoder.describe() == used
    assert list(model.presets) == list(written or configured)


@pytest.mark.parametrize(
    ('metadata', 'has'),
    [
        ({'presets': json.dumps(PRESETS)}, 'natural, vivid'),
        ({'decoder': '{"type": "RegressionDecoder"}'}, 'none at all'),
    ],
)
def test_a_preset_that_there_is_not(checkpoint, metadata, has):
    with pytest.raises(ValueError, match=rf"a\.safetensors has no preset 'loud'; it has {has}"):
        colorizer_for(checkpoint(1, **metadata), {'type': 'ImageColorizer'}, preset='loud')


def test_the_configs_fusion_decides_how_a_checkpoint_is_fused(checkpoint):
    cfg = {'type': 'InstColorizer', 'fusion_net': {'fused': 'encoder', 'fusion': {'type': 'MaskFusion'}}}

    model = colorizer_for(checkpoint(3), cfg)

    assert len(model.fusion_net.fused_rows) == 7
    assert type(model.fusion_net.fusions['conv1']).__name__ == 'MaskFusion'


def test_another_projects_model(checkpoint):
    with pytest.raises(ValueError, match=r'must be one of ImageColorizer, .*, but is mmagic\.Pix2Pix'):
        colorizer_for(checkpoint(1), {'type': 'mmagic.Pix2Pix'})
