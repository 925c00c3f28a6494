from pathlib import Path
from types import ModuleType

import pytest
import torch
from scripts import load_script
from torch import Tensor

from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.models import InstColorizer

TRUNK = {'type': 'ColorizationBackbone', 'width': 1 / 32}
SHARED = 'stages.conv1.0.weight'


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_script('tools/model_converters/combine_checkpoints.py')


def system(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    model = InstColorizer(TRUNK, TRUNK, {'type': 'FusionNetwork', 'width': TRUNK['width']})
    return {
        name: torch.randn_like(value) if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }


@pytest.fixture(scope='module')
def seeds(tmp_path_factory) -> list[tuple[Path, dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp('seeds')
    made = [(folder / f'{seed}.safetensors', system(seed)) for seed in range(3)]
    for path, weights in made:
        save_checkpoint(weights, path)
    return made


def run(tool: ModuleType, *args: str | Path) -> int:
    return tool.main([str(arg) for arg in args])


def test_mean_of_three(tool, seeds, tmp_path, capsys):
    assert run(tool, *[path for path, _ in seeds], tmp_path / 'mean.pth') == 0
    found = load_checkpoint(tmp_path / 'mean.pth').state_dict
    assert found.keys() == seeds[0][1].keys()
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, sum(weights[name] for _, weights in seeds) / 3)
    assert capsys.readouterr().out.count('image_net, instance_net, fusion_net') == 3


def test_mean_of_one_and_some_networks(tool, seeds, tmp_path):
    path, weights = seeds[0]
    assert run(tool, path, tmp_path / 'image.safetensors', '--networks', 'image_net') == 0
    found = load_checkpoint(tmp_path / 'image.safetensors')
    assert found.networks == ('image_net',)
    assert all(torch.equal(value, weights[name]) for name, value in found.state_dict.items())


def test_onto_a_network_that_was_trained_on(tool, seeds, tmp_path):
    (path, old), (_, new) = seeds[:2]
    old[f'instance_net.{SHARED}'] = old[f'image_net.{SHARED}'].clone()  # frozen in its training
    save_checkpoint(old, path)
    image = {name: value for name, value in new.items() if name.startswith('image_net.')}
    save_checkpoint(image, tmp_path / 'image.safetensors')
    assert run(tool, path, tmp_path / 'moved.safetensors', '--onto', tmp_path / 'image.safetensors') == 0
    moved = load_checkpoint(tmp_path / 'moved.safetensors').state_dict
    assert all(torch.equal(moved[name], value) for name, value in image.items())
    assert torch.equal(moved[f'instance_net.{SHARED}'], image[f'image_net.{SHARED}'])
    bias = 'stages.conv2.0.bias'
    for net in ('instance_net', 'fusion_net'):
        learnt = old[f'{net}.{bias}'] - old[f'image_net.{bias}']
        torch.testing.assert_close(moved[f'{net}.{bias}'] - moved[f'image_net.{bias}'], learnt)
    fusions = [name for name in old if '.fusions.' in name]
    assert fusions
    assert all(torch.equal(moved[name], old[name]) for name in fusions)


def test_networks_of_another_training(tool, seeds, tmp_path, capsys):
    (path, weights), (_, other) = seeds[1:]
    save_checkpoint({n: v for n, v in other.items() if n.startswith('instance_net.')}, tmp_path / 'instance.pth')
    said = {'config': 'insta_fusion_photos_w025_128x128', 'presets': '{}'}
    save_checkpoint(weights, path, metadata=said)
    assert run(tool, path, tmp_path / 'out.pth', '--replace', tmp_path / 'instance.pth') == 0
    made = load_checkpoint(tmp_path / 'out.pth')
    assert said.items() <= made.metadata.items()
    for name, value in made.state_dict.items():
        assert torch.equal(value, (other if name.startswith('instance_net.') else weights)[name]), name
    image = {name: value for name, value in weights.items() if name.startswith('image_net.')}
    save_checkpoint(image, tmp_path / 'image.pth')
    assert run(tool, tmp_path / 'image.pth', tmp_path / 'no.pth', '--replace', tmp_path / 'instance.pth') == 1
    assert 'has no instance_net, but image_net' in capsys.readouterr().err


@pytest.mark.parametrize('option', [None, '--onto', '--replace'])
def test_other_settings_are_refused(tool, seeds, tmp_path, capsys, option):
    path, weights = seeds[0]
    kept = weights if option is None else {n: v for n, v in weights.items() if n.startswith('image_net.')}
    save_checkpoint(kept, tmp_path / 'uncentred.pth', metadata={'mask_centre': '0'})
    other = [tmp_path / 'uncentred.pth']
    args = [*other, tmp_path / 'out.pth'] if option is None else [tmp_path / 'out.pth', option, *other]
    assert run(tool, path, *args) == 1
    refusal = capsys.readouterr().err
    assert 'was trained with mask_centre=0.5 and ' in refusal
    assert 'uncentred.pth with mask_centre=0' in refusal
    assert not (tmp_path / 'out.pth').exists()


def test_what_does_not_fit_is_refused(tool, seeds, tmp_path, capsys):
    path, weights = seeds[0]
    image = {name: value for name, value in weights.items() if name.startswith('image_net.')}
    save_checkpoint(image, tmp_path / 'image.pth')
    assert run(tool, path, tmp_path / 'image.pth', tmp_path / 'out.pth') == 1
    assert 'only checkpoints of the same networks have a mean, but ' in capsys.readouterr().err
    assert run(tool, path, tmp_path / 'out.pth', '--onto', path) == 1
    assert 'must hold image_net alone, but holds image_net, instance_net, fusion_net' in capsys.readouterr().err
    assert run(tool, path, tmp_path / 'out.pth', '--networks', 'image_net', 'segmenter') == 1
    assert 'has no segmenter, but image_net, instance_net, fusion_net' in capsys.readouterr().err
    torch.manual_seed(0)
    wider = InstColorizer(
        *[{'type': 'ColorizationBackbone', 'width': 1 / 16}] * 2, {'type': 'FusionNetwork', 'width': 1 / 16}
    )
    wide = {name: value.clone() for name, value in wider.state_dict().items() if name.startswith('image_net.')}
    save_checkpoint(wide, tmp_path / 'wide.pth')
    assert run(tool, path, tmp_path / 'out.pth', '--onto', tmp_path / 'wide.pth') == 1
    assert 'wide.pth holds image_net, width 0.0625 ' in capsys.readouterr().err
    assert not (tmp_path / 'out.pth').exists()
    assert run(tool, path, tmp_path / 'image.pth') == 1
    assert 'exists already; --overwrite replaces it' in capsys.readouterr().err
