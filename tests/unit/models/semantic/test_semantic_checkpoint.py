"""Two files of two networks, told apart by their entries whatever they are called."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints import CheckpointError, load_checkpoint, load_from_local, save_checkpoint
from insta_colorization.models import ImageColorizer
from insta_colorization.models.semantic import LiteColorNet, LiteSegmenter, SemanticColorizer, SemanticSegmenter

SEGMENTER = {'type': 'GridSegmenter', 'width': 1 / 16}
COLOURS = {'type': 'SemanticColorNet', 'width': 1 / 16}

GOLDEN = Path(__file__).parents[3] / 'golden'
CONFIG = {'type': 'SemanticColorizer'}


@pytest.fixture(scope='module')
def model() -> SemanticColorizer:
    return SemanticColorizer(SEGMENTER, COLOURS).eval()


@pytest.fixture(scope='module')
def published(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('weights')
    save_checkpoint(model.state_dict(), folder, 'semantic')
    return folder


@pytest.fixture
def folder(published, tmp_path) -> Path:
    return Path(shutil.copytree(published, tmp_path / 'published'))


def entries(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)['G']


@pytest.mark.parametrize(('table', 'name'), [('seg', 'seg_weights'), ('color', 'color_weights')])
def test_written_files_have_the_published_names(published, table, name):
    recorded = json.loads((GOLDEN / f'semantic_{table}_keys.json').read_text())

    assert set(entries(published / f'{name}.pth')) == set(recorded)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('wrapper', 'prefix', 'zipped'),
    [
        pytest.param('G', '', False, id='as published'),
        pytest.param('state_dict', 'module.', True, id='state_dict, module.'),
        pytest.param(None, '', True, id='bare'),
    ],
)
def test_there_and_back_is_the_identity(model, folder, tmp_path, wrapper, prefix, zipped):
    for path in sorted(folder.iterdir()):
        named = {prefix + name: value for name, value in entries(path).items() if 'num_batches' not in name}
        content = {wrapper: named, 'epoch': 3, 'optim': {'lr': 0.1}} if wrapper else named
        torch.save(content, folder / f'{path.stem}.pth.tar', _use_new_zipfile_serialization=zipped)
        path.unlink()

    read = load_checkpoint(folder)
    again = load_checkpoint(save_checkpoint(read.state_dict, tmp_path / 'ours.safetensors')[0])

    assert (read.family.name, read.layout, again.layout) == ('semantic', 'semantic', 'ours')
    assert read.networks == again.networks == ('segment_net', 'color_net')
    assert read.sizes == {'segmenter_width': 1 / 16, 'width': 1 / 16, 'map_code': 'number'}
    torch.testing.assert_close(again.state_dict, dict(model.state_dict()), rtol=0, atol=0)


@pytest.mark.slow
def test_swapped_files_are_told_by_their_entries(model, folder):
    first, second = folder / 'seg_weights.pth', folder / 'color_weights.pth'
    first.rename(folder / 'other.pth')
    second.rename(first)
    (folder / 'other.pth').rename(second)

    for given in (folder, [first, second]):
        torch.testing.assert_close(load_checkpoint(given).state_dict, dict(model.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ('name', 'held', 'lacking'),
    [
        ('seg_weights', 'color_weights.pth (color_net)', 'segment_net'),
        ('color_weights', 'seg_weights.pth (segment_net)', 'color_net'),
    ],
)
def test_a_folder_that_lacks_one(folder, name, held, lacking):
    (folder / f'{name}.pth').unlink()

    with pytest.raises(CheckpointError) as error:
        load_checkpoint(folder)

    assert str(error.value) == f'{folder} holds {held} but lacks a file of the {lacking}'


@pytest.mark.slow
def test_a_folder_with_two_of_one(folder):
    torch.save(entries(folder / 'seg_weights.pth'), folder / 'older.pth')

    with pytest.raises(CheckpointError, match=r'holds two files of the segment_net, older\.pth and seg_weights\.pth'):
        load_checkpoint(folder)


@pytest.mark.parametrize('name', ['seg_weights', 'color_weights'])
def test_one_file_alone_predicts_nothing(published, name):
    with pytest.raises(CheckpointError, match=r'holds only .*; prediction needs the segment_net and the color_net'):
        colorizer_for(load_checkpoint(published / f'{name}.pth'), CONFIG)


def test_a_file_that_is_not_exactly_its_layout(folder):
    path = folder / 'color_weights.pth'
    weights = entries(path)
    weights.pop('dec3.conv2.weight')
    torch.save({'G': weights}, path)

    with pytest.raises(
        CheckpointError, match=r"layout 'semantic' \(color_net\) most, but it lacks dec3\.conv2\.weight"
    ):
        load_checkpoint(folder)


def test_a_folder_of_other_files(tmp_path):
    torch.save({'weight': torch.zeros(1)}, tmp_path / 'a.pth')

    with pytest.raises(CheckpointError, match='holds no checkpoint: expected'):
        load_checkpoint(tmp_path)


class TestModels:
    def test_the_checkpoint_decides_the_sizes(self, published):
        built = colorizer_for(load_checkpoint(published), {**CONFIG, 'wrap': True})

        assert (built.segment_net.width, built.color_net.width, built.color_net.one_hot) == (1 / 16, 1 / 16, False)
        assert built.wrap

    def test_one_hot_networks(self, build, tmp_path):
        path = save_checkpoint(build(one_hot=True).state_dict(), tmp_path / 'a.safetensors')[0]

        assert colorizer_for(load_checkpoint(path), CONFIG).color_net.one_hot

    def test_another_familys_config(self, published):
        with pytest.raises(
            ValueError, match='must be one of SemanticSegmenter, SemanticColorizer, but is InstColorizer'
        ):
            colorizer_for(load_checkpoint(published), {'type': 'InstColorizer'})

    def test_another_familys_weights(self, image_weights):
        with pytest.raises(ValueError, match="config's model must be one of ImageColorizer"):
            colorizer_for(load_checkpoint(image_weights), CONFIG)

    def test_another_model_refuses_them(self, published):
        with pytest.raises(CheckpointError, match='has no image_net, which ImageColorizer needs'):
            ImageColorizer({'type': 'ColorizationBackbone', 'width': 1 / 16}).load_state_dict(
                load_from_local(str(published))['state_dict']
            )


class TestStages:
    def test_the_second_begins_with_the_first(self, model, tmp_path):
        segmenter = SemanticSegmenter(SEGMENTER)
        path = save_checkpoint(segmenter.state_dict(), tmp_path / 'stage1.safetensors')[0]
        colours = {name: value.clone() for name, value in model.color_net.state_dict().items()}

        model.load_state_dict(load_from_local(str(path))['state_dict'])

        torch.testing.assert_close(model.segment_net.state_dict(), segmenter.segment_net.state_dict(), rtol=0, atol=0)
        torch.testing.assert_close(model.color_net.state_dict(), colours, rtol=0, atol=0)

    def test_what_trains(self, model):
        trains = {name.split('.')[0] for name, parameter in model.named_parameters() if parameter.requires_grad}

        assert trains == {'color_net'}
        assert not model.train().segment_net.input_norm.training
        assert SemanticSegmenter(SEGMENTER).train().segment_net.input_norm.training


class TestLight:
    @pytest.fixture(scope='class')
    def light(self) -> SemanticColorizer:
        encoder = LiteSegmenter(1 / 16).encoder.state_dict()
        model = SemanticColorizer({'type': 'LiteSegmenter', 'width': 1 / 16}, {'type': 'LiteColorNet', 'width': 1 / 8})
        model.segment_net.encoder.load_state_dict(encoder)
        model.color_net.encoder.load_state_dict(encoder)
        return model.eval()

    @pytest.fixture(scope='class')
    def file(self, light, tmp_path_factory) -> Path:
        return save_checkpoint(light.state_dict(), tmp_path_factory.mktemp('light') / 'light.safetensors')[0]

    def test_there_and_back(self, light, file):
        read = load_checkpoint(file)

        assert read.family.name == 'semantic-lite'
        assert read.sizes == {'segmenter_width': 1 / 16, 'width': 1 / 8, 'codes': 16}
        torch.testing.assert_close(read.state_dict, dict(light.state_dict()), rtol=0, atol=0)

    def test_the_encoder_is_in_the_file_once(self, light, file):
        encoder = sum(entry.numel() for entry in light.segment_net.encoder.state_dict().values())
        both = sum(entry.numel() for entry in light.state_dict().values())

        assert file.stat().st_size < 4 * (both - encoder) + 200_000

    def test_prediction_takes_nothing_to_begin_with(self, file):
        recipe = {**CONFIG, 'segment_net': {'type': 'LiteSegmenter'}}
        recipe['color_net'] = {'type': 'LiteColorNet', 'weights': 'there is no such file'}

        model = colorizer_for(load_checkpoint(file), recipe)

        assert isinstance(model.color_net, LiteColorNet)

    @pytest.mark.parametrize(
        ('network', 'message'),
        [
            ({'segment_net': {'type': 'GridSegmenter'}}, 'segment_net is a GridSegmenter, but .* of a LiteSegmenter'),
            ({'color_net': {'type': 'SemanticColorNet'}}, 'color_net is a SemanticColorNet, but .* of a LiteColorNet'),
        ],
    )
    def test_a_config_of_the_other_networks(self, file, network, message):
        with pytest.raises(ValueError, match=message):
            colorizer_for(load_checkpoint(file), {**CONFIG, **network})

    def test_a_config_of_the_light_networks(self, published):
        with pytest.raises(ValueError, match=r'color_net is a LiteColorNet, but .* of a SemanticColorNet'):
            colorizer_for(load_checkpoint(published), {**CONFIG, 'color_net': {'type': 'LiteColorNet'}})
