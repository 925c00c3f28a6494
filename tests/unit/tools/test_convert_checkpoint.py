import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch
from scripts import load_script
from torch import Tensor

from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.models import ImageColorizer, InstColorizer

NARROW = 1 / 16


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_script('tools/model_converters/convert_checkpoint.py')


@pytest.fixture(scope='module')
def weights() -> dict[str, Tensor]:
    trunk = {'type': 'ColorizationBackbone', 'width': NARROW}
    model = InstColorizer(trunk, trunk, {'type': 'FusionNetwork', 'width': NARROW})
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope='module')
def published(weights, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('weights') / 'published'
    save_checkpoint(weights, folder, 'instacolorization')
    return folder


@pytest.fixture(scope='module')
def image_only(published, tmp_path_factory) -> Path:
    """The full-image network's file alone in a folder."""
    return Path(shutil.copy(published / 'latest_net_GComp.pth', tmp_path_factory.mktemp('image'))).parent


def same(path: Path, weights: dict[str, Tensor]) -> bool:
    found = load_checkpoint(path).state_dict
    return found.keys() == weights.keys() and all(torch.equal(value, weights[name]) for name, value in found.items())


def run(tool: ModuleType, *args: str | Path) -> int:
    return tool.main([str(arg) for arg in args])


def test_folder_to_ours(tool, published, weights, tmp_path, capsys):
    assert run(tool, published, tmp_path / 'a.safetensors') == 0
    assert same(tmp_path / 'a.safetensors', weights)
    read, wrote = capsys.readouterr().out.splitlines()
    networks = 'image_net, instance_net, fusion_net, width 0.0625, inner channels 16'
    assert f'layout instacolorization, networks {networks}, 477 entries' in read
    assert wrote.startswith(f'wrote {tmp_path / "a.safetensors"} (')


@pytest.mark.slow
def test_three_files_to_mmagic_and_back(tool, published, weights, tmp_path):
    assert run(tool, *published.iterdir(), tmp_path / 'mmagic.pth', '--to', 'mmagic') == 0
    assert len(torch.load(tmp_path / 'mmagic.pth', weights_only=True)['state_dict']) == 489
    assert run(tool, tmp_path / 'mmagic.pth', tmp_path / 'back', '--to', 'instacolorization') == 0
    assert same(tmp_path / 'back', weights)


def test_half(tool, image_only, tmp_path):
    assert run(tool, image_only, tmp_path / 'full.safetensors') == 0
    assert run(tool, image_only, tmp_path / 'half.safetensors', '--half') == 0
    sizes = [(tmp_path / name).stat().st_size for name in ('half.safetensors', 'full.safetensors')]
    assert sizes[0] < 0.7 * sizes[1]


def test_mask_centre_is_kept_under_another_name(tool, tmp_path, capsys):
    model = ImageColorizer({'type': 'ColorizationBackbone', 'width': NARROW})
    save_checkpoint(model.state_dict(), tmp_path, 'instacolorization')
    (tmp_path / 'latest_net_GComp.pth').rename(tmp_path / 'siggraph17-df00044c.pth')
    assert run(tool, tmp_path / 'siggraph17-df00044c.pth', tmp_path / 'start.safetensors') == 0
    assert 'layout siggraph17, networks image_net, width 0.0625, 107 entries, mask centre 0' in capsys.readouterr().out
    assert load_checkpoint(tmp_path / 'start.safetensors').settings == {'mask_centre': 0}


@pytest.mark.parametrize('to', ['ours', 'instacolorization'])
def test_nothing_is_overwritten_unasked(tool, image_only, weights, tmp_path, capsys, to):
    target = tmp_path / 'a.pth' if to == 'ours' else tmp_path / 'a'
    file = target if to == 'ours' else target / 'latest_net_GComp.pth'
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b'precious')
    assert run(tool, image_only, target, '--to', to) == 1
    assert capsys.readouterr().err == f'error: {file} exists already; --overwrite replaces it\n'
    assert file.read_bytes() == b'precious'
    assert run(tool, image_only, target, '--to', to, '--overwrite') == 0
    assert same(target, {name: value for name, value in weights.items() if name.startswith('image_net.')})


@pytest.mark.parametrize('case', ['missing', 'no suffix', 'folder in the way', 'incomplete'])
def test_errors_are_one_sentence(tool, published, image_only, tmp_path, capsys, case):
    source, target = image_only, tmp_path / 'a.pth'
    match case:
        case 'missing':
            source, message = tmp_path / 'nowhere.pth', 'nowhere.pth does not exist'
        case 'no suffix':
            target, message = tmp_path / 'a', "must end in .pth or .safetensors, but got 'a'"
        case 'folder in the way':
            (tmp_path / 'file').touch()
            target, message = tmp_path / 'file' / 'a.pth', str(tmp_path / 'file')
        case 'incomplete':
            source = shutil.copytree(published, tmp_path / 'published')
            (source / 'latest_net_G.pth').unlink()
            message = 'but lacks latest_net_G.pth'
    assert run(tool, source, target) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert error.count('\n') == 1
    assert run(tool, source, target, '--debug') == 1
    assert 'Traceback' in capsys.readouterr().err


def test_an_unknown_layout(tool, image_only, tmp_path, capsys):
    assert run(tool, image_only, tmp_path / 'b.pth', '--to', 'caffe') == 1
    assert capsys.readouterr().err == (
        "error: the layout to write must be one of instacolorization, mmagic, ours, but got 'caffe'\n"
    )
