import pytest
import torch

from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from insta_colorization.models import ImageColorizer, InstanceColorizer
from insta_colorization.models.backbones import lite

LITE = {'type': 'LiteBackbone', 'width': 1 / 8}
TRUNK = {'type': 'ColorizationBackbone', 'width': 1 / 16}


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
