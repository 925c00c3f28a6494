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
        return load_checkpoint(save_checkpoint(MODELS[stage].state_dict(), tmp_path / 'a.pth', metadata=metadata)[0])

    return saved


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


def test_the_configs_fusion_decides_how_a_checkpoint_is_fused(checkpoint):
    cfg = {'type': 'InstColorizer', 'fusion_net': {'fused': 'encoder', 'fusion': {'type': 'MaskFusion'}}}

    model = colorizer_for(checkpoint(3), cfg)

    assert len(model.fusion_net.fused_rows) == 7
    assert type(model.fusion_net.fusions['conv1']).__name__ == 'MaskFusion'


def test_another_projects_model(checkpoint):
    with pytest.raises(ValueError, match=r'must be one of ImageColorizer, .*, but is mmagic\.Pix2Pix'):
        colorizer_for(checkpoint(1), {'type': 'mmagic.Pix2Pix'})
