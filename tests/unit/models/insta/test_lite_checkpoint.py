import pytest
import torch
from safetensors import safe_open

from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from insta_colorization.models import ImageColorizer, InstanceColorizer, InstColorizer
from insta_colorization.models.backbones import lite
from insta_colorization.structures import Instances

LITE = {'type': 'LiteBackbone', 'width': 1 / 8}
TRUNK = {'type': 'ColorizationBackbone', 'width': 1 / 16}
ROWS = ['enc16', 'up8']


def system(lively, rows: str | list[str] = ROWS, inner_channels: int = 5, seed: int = 0) -> InstColorizer:
    """All three networks, with the same encoder as after stage 3."""
    fusion = {'type': 'FusionNetwork', 'backbone': LITE, 'fused': rows, 'fusion': {'inner_channels': inner_channels}}
    model = lively(InstColorizer(LITE, LITE, fusion, trainable=()), seed)
    for network in (model.instance_net, model.fusion_net):
        network.encoder.load_state_dict(model.image_net.encoder.state_dict())
    return model


@pytest.fixture(scope='module')
def whole(lively) -> InstColorizer:
    """No test may change it."""
    return system(lively)


def batch() -> dict:
    generator = torch.Generator().manual_seed(0)
    lightness, crops = (torch.rand(count, 1, 64, 64, generator=generator) - 0.5 for count in (2, 3))
    boxes = Instances([[4, 4, 60, 50], [20, 8, 64, 64], [0, 0, 30, 30]], [[64, 64]] * 2, image_index=[0, 0, 1])
    return {'lightness': lightness, 'crop_lightness': crops, 'instances': boxes}


@pytest.mark.slow
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_full_image_network_there_and_back(lively, tmp_path, monkeypatch, suffix):
    model = lively(ImageColorizer(LITE))
    (path,) = save_checkpoint(model.state_dict(), tmp_path / f'lite{suffix}')

    checkpoint = load_checkpoint(path)
    # The config of a training begins with the pretrained encoder, which prediction must not ask for.
    pretrained = {'type': 'LiteBackbone', 'encoder': {'type': 'EfficientNetLite', 'pretrained': True}}
    monkeypatch.setattr(lite, 'PACKAGE', 'no_such_package')
    read = colorizer_for(checkpoint, {'type': 'ImageColorizer', 'image_net': pretrained})

    assert (checkpoint.family.name, checkpoint.networks, checkpoint.sizes) == (
        'insta-lite',
        ('image_net',),
        {'width': 1 / 8},
    )
    lightness = torch.rand(1, 1, 32, 64) - 0.5
    assert torch.equal(read(lightness=lightness), model(lightness=lightness))


@pytest.mark.slow
def test_the_next_stage_begins_with_it(lively):
    first, second = lively(ImageColorizer(LITE), seed=1), lively(InstanceColorizer(LITE, LITE), seed=2)

    second.load_state_dict(first.state_dict())

    for name, value in first.image_net.state_dict().items():
        assert torch.equal(second.instance_net.state_dict()[name], value)


@pytest.mark.parametrize(
    ('mine', 'other', 'words'),
    [
        pytest.param(LITE, TRUNK, "family 'insta', but ImageColorizer has those of 'insta-lite'", id='light'),
        pytest.param(TRUNK, LITE, "family 'insta-lite', but ImageColorizer has those of 'insta'", id='published'),
    ],
)
def test_a_checkpoint_of_the_other_backbone_is_refused(mine, other, words):
    with pytest.raises(CheckpointError, match=words):
        ImageColorizer(mine).load_state_dict(ImageColorizer(other).state_dict())


@pytest.mark.slow
@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_the_whole_system_there_and_back(whole, tmp_path, suffix, half):
    (path,) = save_checkpoint(whole.state_dict(), tmp_path / f'lite{suffix}', half=half)

    checkpoint = load_checkpoint(path)
    # A config of another stage: which rows fuse, and how wide their nets are, is told by the entries.
    read = colorizer_for(checkpoint, {'type': 'ImageColorizer', 'image_net': {'type': 'LiteBackbone'}})

    assert checkpoint.sizes == {'width': 1 / 8, 'inner_channels': 5, 'fused': 'enc16 up8'}
    assert checkpoint.summary == 'image_net, instance_net, fusion_net, width 0.125, inner channels 5, fused enc16 up8'
    assert read.fusion_net.fused_rows == tuple(ROWS)
    with torch.no_grad():
        torch.testing.assert_close(read(**batch()), whole(**batch()), atol=2e-2 if half else 0, rtol=0)


@pytest.mark.slow
def test_a_file_holds_the_encoder_once(whole, tmp_path):
    (path,) = save_checkpoint(whole.state_dict(), tmp_path / 'lite.safetensors', half=True)

    with safe_open(path, framework='pt') as file:
        encoders = [name for name in file.keys() if '.encoder.' in name]  # noqa: SIM118
    assert {name.split('.')[0] for name in encoders} == {'image_net'}
    assert load_checkpoint(path).state_dict.keys() == whole.state_dict().keys()


@pytest.mark.slow
def test_a_file_of_stage_2_is_not_taken_for_one_of_stage_3(lively, tmp_path):
    model = lively(InstanceColorizer(LITE, LITE))
    model.instance_net.encoder.load_state_dict(model.image_net.encoder.state_dict())

    (path,) = save_checkpoint(model.state_dict(), tmp_path / 'lite.safetensors')

    assert load_checkpoint(path).networks == ('image_net', 'instance_net')
    fusion = {'type': 'FusionNetwork', 'backbone': LITE, 'fused': ROWS}
    third = InstColorizer(LITE, LITE, fusion, trainable=())
    third.load_state_dict(load_checkpoint(path).state_dict)
    assert torch.equal(third.fusion_net.bottleneck.weight, model.image_net.bottleneck.weight)


@pytest.mark.slow
def test_where_all_rows_have_fusions_the_config_says_which_run(lively, tmp_path):
    (path,) = save_checkpoint(system(lively, 'decoder').state_dict(), tmp_path / 'a.safetensors')
    checkpoint = load_checkpoint(path)

    for fused, rows in (('none', ()), ('decoder', ('up16', 'up8', 'up4'))):
        cfg = {'type': 'InstColorizer', 'fusion_net': {'type': 'FusionNetwork', 'fused': fused}}
        assert colorizer_for(checkpoint, cfg).fusion_net.fused_rows == rows


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        pytest.param({'rows': ['up4']}, 'has fused enc16 up8, but that of InstColorizer has up4', id='rows'),
        pytest.param({'inner_channels': 6}, 'has inner_channels 5, but that of InstColorizer has 6', id='inner'),
    ],
)
@pytest.mark.slow
def test_another_fusion_is_refused(lively, whole, change, words):
    with pytest.raises(CheckpointError, match=words):
        system(lively, **change).load_state_dict(whole.state_dict())


@pytest.mark.parametrize(
    ('weights', 'config', 'words'),
    [
        pytest.param(LITE, TRUNK, 'is a ColorizationBackbone, but .* holds the weights of a LiteBackbone', id='light'),
        pytest.param(TRUNK, LITE, 'is a LiteBackbone, but .* holds the weights of a ColorizationBackbone', id='other'),
    ],
)
def test_a_config_of_the_other_backbone_is_refused(tmp_path, weights, config, words):
    (path,) = save_checkpoint(ImageColorizer(weights).state_dict(), tmp_path / 'a.safetensors')

    with pytest.raises(ValueError, match=f"the config's image_net {words}"):
        colorizer_for(load_checkpoint(path), {'type': 'InstColorizer', 'image_net': config})
