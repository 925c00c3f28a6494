import json
import pickle
import re
import shutil
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import alone
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import load_checkpoint as mmengine_load
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints import (
    FAMILIES,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    load_from_local,
    load_into,
    register_reader,
    save_checkpoint,
)
from insta_colorization.checkpoints.families import families
from insta_colorization.checkpoints.safe_load import read_file
from insta_colorization.models import STAGES, ImageColorizer, InstColorizer
from insta_colorization.models.insta.checkpoint import FUSIONS, MODULES
from insta_colorization.registry import MODELS, SCOPE
from insta_colorization.structures import ColorizationSample

GOLDEN = Path(__file__).resolve().parents[2] / 'golden'
NARROW = 16
WIDTH = 1 / NARROW


def recorded(name: str, narrowing: int = NARROW) -> dict[str, tuple[int, ...]]:
    """A published checkpoint's names and shapes; its channels divided, all other sizes kept."""
    table = json.loads((GOLDEN / f'{name}_keys.json').read_text())
    return {
        key: tuple(size // narrowing if size >= 64 and size != 529 else size for size in shape)
        for key, shape in table.items()
    }


def fake(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.tensor(seed) if name.endswith('num_batches_tracked') else torch.rand(shape, generator=generator)
        for name, shape in shapes.items()
    }


def in_mmagic_names(files: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """What MMagic's port renamed: the network's prefix, and single layers lost their Sequential."""
    prefixes = {'GComp': 'image_model', 'G': 'instance_model', 'GF': 'fusion_model'}
    return {
        f'{prefix}.' + re.sub(r'^(model\w*(?:up|short\d+|_class))\.0\.', r'\1.', name): value
        for file, prefix in prefixes.items()
        for name, value in files[file].items()
    }


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def narrow_model(width: float = WIDTH) -> InstColorizer:
    trunk = {'type': 'ColorizationBackbone', 'width': width}
    return InstColorizer(trunk, trunk, {'type': 'FusionNetwork', 'width': width})


def narrow_image_model(width: float = WIDTH, **kwargs) -> ImageColorizer:
    return ImageColorizer({'type': 'ColorizationBackbone', 'width': width}, **kwargs)


def emptied(model: nn.Module) -> nn.Module:
    for value in model.state_dict().values():
        value.zero_()
    return model


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope(SCOPE):
        yield


@pytest.fixture
def registered(monkeypatch):
    """MMEngine's loader with our reader of local files, for this test."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    register_reader()


@pytest.fixture(scope='module')
def entries() -> dict[str, dict[str, Tensor]]:
    trunk = recorded('insta_G')
    return {'GComp': fake(trunk, 1), 'G': fake(trunk, 2), 'GF': fake(recorded('insta_GF'), 3)}


@pytest.fixture(scope='module')
def published(entries, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('whole') / 'published'
    path.mkdir()
    for name, tensors in entries.items():
        torch.save(tensors, path / f'latest_net_{name}.pth')
    return path


@pytest.fixture(scope='module')
def ours(published) -> Checkpoint:
    return load_checkpoint(published)


@pytest.fixture(scope='module')
def narrow() -> InstColorizer:
    return narrow_model()


@pytest.fixture(scope='module')
def narrow_image() -> ImageColorizer:
    return narrow_image_model()


@pytest.fixture
def model(narrow) -> InstColorizer:
    """All three networks, with zeros for weights."""
    return emptied(narrow)


@pytest.fixture
def image_model(narrow_image) -> ImageColorizer:
    """The full-image network, with zeros for weights."""
    return emptied(narrow_image)


@pytest.fixture
def files(entries) -> dict[str, dict[str, Tensor]]:
    """The published files' entries; a test may change which there are."""
    return {name: dict(tensors) for name, tensors in entries.items()}


@pytest.fixture
def folder(published, tmp_path) -> Path:
    """The published files; a test may change them."""
    return Path(shutil.copytree(published, tmp_path / 'published'))


# Reading ------------------------------------------------------------------------------------------------------------


def test_the_three_files_are_a_whole_colorizer(ours, narrow):
    assert ours.layout == 'instacolorization'
    assert ours.networks == ('image_net', 'instance_net', 'fusion_net')
    assert ours.sizes == {'width': WIDTH, 'inner_channels': 16}
    shapes = {name: value.shape for name, value in narrow.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict.items()} == shapes


@pytest.mark.parametrize(
    ('file', 'theirs', 'name'),
    [
        ('GComp', 'model4.0.weight', 'image_net.stages.conv4.0.weight'),
        ('GComp', 'model4.6.running_var', 'image_net.stages.conv4.6.running_var'),
        ('GComp', 'model10.1.bias', 'image_net.stages.conv10.1.bias'),
        ('G', 'model8up.0.weight', 'instance_net.stages.up8.up.weight'),
        ('G', 'model3short8.0.bias', 'instance_net.stages.up8.skip.bias'),
        ('G', 'model1short10.0.weight', 'instance_net.stages.up10.skip.weight'),
        ('G', 'model_class.0.weight', 'instance_net.class_head.weight'),
        ('GF', 'model_out.0.bias', 'fusion_net.ab_head.0.bias'),
        ('GF', 'weight_layer.simple_bg_conv.2.weight', 'fusion_net.fusions.conv1.image_weight.2.weight'),
        ('GF', 'weight_layer8_1.simple_instance_conv.0.weight', 'fusion_net.fusions.up8.crop_weight.0.weight'),
        ('GF', 'weight_layer8_2.simple_instance_conv.4.bias', 'fusion_net.fusions.conv8.crop_weight.4.bias'),
        ('GF', 'weight_layer10_2.simple_bg_conv.0.bias', 'fusion_net.fusions.conv10.image_weight.0.bias'),
    ],
    ids=lambda value: str(value),
)
def test_names(files, ours, file, theirs, name):
    assert torch.equal(ours.state_dict[name], files[file][theirs])


def test_tables_cover_every_row():
    assert set(FUSIONS) == {row.name for row in STAGES}
    assert {module.split('.')[1] for module in MODULES if module.startswith('stages.')} == set(FUSIONS)


def test_mmagic_gives_the_same_tensors(files, ours, tmp_path):
    entries = in_mmagic_names(files)
    assert {name: tuple(value.shape) for name, value in entries.items()} == recorded('mmagic')
    torch.save({'state_dict': entries, 'meta': {'epoch': 3}}, tmp_path / 'wrapped.pth')
    torch.save(entries, tmp_path / 'bare.pth')
    wrapped, bare = load_checkpoint(tmp_path / 'wrapped.pth'), load_checkpoint(tmp_path / 'bare.pth')
    assert wrapped.layout == bare.layout == 'mmagic'
    assert wrapped.metadata == {'epoch': '3'}
    assert same(wrapped.state_dict, ours.state_dict)
    assert same(bare.state_dict, ours.state_dict)


@pytest.mark.parametrize('wrapped', ['GF', 'GComp', 'G'])
def test_a_leading_module_is_taken_off(files, folder, ours, wrapped):
    entries = {f'module.{name}': value for name, value in files[wrapped].items()}
    torch.save(entries, folder / f'latest_net_{wrapped}.pth')
    assert same(load_checkpoint(folder).state_dict, ours.state_dict)


@pytest.mark.parametrize('leading', ['', 'module.'], ids=['plain', 'module.'])
@pytest.mark.parametrize('wrapper', ['state_dict', 'model', 'module', 'G', None])
@pytest.mark.parametrize('layout', ['siggraph17', 'ours'])
def test_weights_lie_bare_or_wrapped(files, ours, image_model, tmp_path, layout, wrapper, leading):
    own = {name: value for name, value in ours.state_dict.items() if name.startswith('image_net.')}
    entries = {leading + name: value for name, value in (own if layout == 'ours' else files['GComp']).items()}
    path = tmp_path / 'a.pth'
    torch.save(entries if wrapper is None else {wrapper: entries, 'optimizer': {'lr': 0.1}}, path)
    checkpoint = load_checkpoint(path)
    assert (checkpoint.family.name, checkpoint.layout, checkpoint.networks) == ('insta', layout, ('image_net',))
    assert same(checkpoint.state_dict, own)
    image_model.load_state_dict(load_from_local(str(path))['state_dict'])
    assert same(dict(image_model.state_dict()), own)


def test_files_given_one_by_one(published, ours):
    paths = [published / f'latest_net_{name}.pth' for name in ('GF', 'G', 'GComp')]
    assert same(load_checkpoint(paths).state_dict, ours.state_dict)


def test_folder_of_safetensors(files, ours, tmp_path):
    for name, entries in files.items():
        save_file(entries, tmp_path / f'latest_net_{name}.safetensors', metadata={'from': name})
    checkpoint = load_checkpoint(tmp_path)
    assert same(checkpoint.state_dict, ours.state_dict)
    assert checkpoint.metadata['from'] in files


def test_folder_with_the_full_image_network_only(published, ours, tmp_path):
    shutil.copy(published / 'latest_net_GComp.pth', tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.networks == ('image_net',)
    assert all(torch.equal(value, ours.state_dict[name]) for name, value in checkpoint.state_dict.items())


def test_a_lone_trunk_is_the_full_image_network(files, published):
    checkpoint = load_checkpoint(published / 'latest_net_G.pth')
    assert (checkpoint.networks, checkpoint.layout) == (('image_net',), 'siggraph17')
    assert torch.equal(checkpoint.state_dict['image_net.stages.conv1.0.weight'], files['G']['model1.0.weight'])


@pytest.mark.parametrize(
    ('name', 'centre'),
    [('siggraph17-df00044c.pth', 0.0), ('caffemodel.pth', 0.0), ('latest_net_G.pth', 0.5), ('pytorch.pth', 0.5)],
)
def test_siggraph17_without_counters(files, tmp_path, name, centre):
    entries = {key: value for key, value in files['G'].items() if not key.endswith('num_batches_tracked')}
    assert len(entries) < len(files['G'])
    torch.save(entries, tmp_path / name)
    checkpoint = load_checkpoint(tmp_path / name)
    assert checkpoint.settings == {'mask_centre': centre}
    model = narrow_image_model(mask_centre=centre)
    load_into(model, checkpoint)
    assert model.state_dict()['image_net.stages.conv9.3.num_batches_tracked'] == 0
    assert torch.equal(model.image_net.stages['conv9'][1].weight, files['G']['model9.1.weight'])


def test_mask_centre_survives_conversion(files, tmp_path):
    torch.save(files['G'], tmp_path / 'siggraph17.pth')
    checkpoint = load_checkpoint(tmp_path / 'siggraph17.pth')
    path = tmp_path / 'renamed.safetensors'
    save_checkpoint(checkpoint.state_dict, path, metadata={'mask_centre': str(checkpoint.settings['mask_centre'])})
    assert load_checkpoint(path).settings == {'mask_centre': 0}
    with pytest.warns(UserWarning, match='mask_centre=0, but the model has 0.5'):
        load_into(narrow_image_model(), load_checkpoint(path))


@pytest.mark.parametrize('width', [1 / 16, 0.1, 0.3492])
def test_width_is_found_from_the_channels(tmp_path, width):
    save_checkpoint(narrow_image_model(width).state_dict(), tmp_path / 'a.safetensors')
    checkpoint = load_checkpoint(tmp_path / 'a.safetensors')
    load_into(narrow_image_model(checkpoint.sizes['width']), checkpoint)
    assert checkpoint.sizes['width'] == pytest.approx(width, abs=0.003)


def test_other_inner_channels(tmp_path):
    trunk = {'type': 'ColorizationBackbone', 'width': WIDTH}
    fusion = {'type': 'FusionNetwork', 'width': WIDTH, 'fusion': {'inner_channels': 4}}
    written = InstColorizer(trunk, trunk, fusion).state_dict()
    save_checkpoint(written, tmp_path / 'a.pth', 'mmagic')
    name = 'fusion_net.fusions.up9.image_weight.0.weight'
    assert torch.equal(load_checkpoint(tmp_path / 'a.pth').state_dict[name], written[name])


# Writing ------------------------------------------------------------------------------------------------------------


def test_instacolorization_there_and_back(files, folder, ours, tmp_path):
    written = save_checkpoint(ours.state_dict, tmp_path / 'back', 'instacolorization')
    assert sorted(path.name for path in written) == sorted(path.name for path in folder.iterdir())
    for name, entries in files.items():
        back = torch.load(tmp_path / 'back' / f'latest_net_{name}.pth', weights_only=True)
        if name == 'GF':  # as the published code loads it: into the data-parallel wrapper
            back = {key.removeprefix('module.'): value for key, value in back.items() if key.startswith('module.')}
            unused = {key for key in entries if key.startswith('weight_layerout.')}
            assert len(unused) == 12
            assert all(back[key].shape == entries[key].shape and not back[key].any() for key in unused)
            back = {key: entries[key] if key in unused else value for key, value in back.items()}
        assert same(back, entries)


def test_mmagic_there_and_back(files, ours, tmp_path):
    save_checkpoint(ours.state_dict, tmp_path / 'mmagic.pth', 'mmagic')
    back = torch.load(tmp_path / 'mmagic.pth', weights_only=True)['state_dict']
    assert len(back) == 489
    expected = in_mmagic_names(files)
    unused = {name for name in expected if 'weight_layerout' in name}
    assert not any(back[name].any() for name in unused)
    assert same({name: expected[name] if name in unused else value for name, value in back.items()}, expected)
    assert same(load_checkpoint(tmp_path / 'mmagic.pth').state_dict, ours.state_dict)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_our_files(ours, tmp_path, suffix):
    metadata = {'settings': json.dumps({'size': 256}), 'mask_centre': '0.5'}
    assert save_checkpoint(ours.state_dict, tmp_path / f'new/a{suffix}', metadata=metadata) == [
        tmp_path / f'new/a{suffix}'
    ]
    back = load_checkpoint(tmp_path / f'new/a{suffix}')
    assert same(back.state_dict, ours.state_dict)
    assert (back.layout, back.metadata, back.sizes, back.networks) == ('ours', metadata, ours.sizes, ours.networks)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_half_on_disk_is_float32_in_memory(ours, tmp_path, suffix):
    full, half = tmp_path / f'full{suffix}', tmp_path / f'half{suffix}'
    save_checkpoint(ours.state_dict, full)
    save_checkpoint(ours.state_dict, half, half=True)
    assert half.stat().st_size < 0.65 * full.stat().st_size
    for name, value in load_checkpoint(half).state_dict.items():
        assert value.dtype == ours.state_dict[name].dtype
        assert torch.allclose(value.float(), ours.state_dict[name].float(), atol=1e-3)


def test_variances_past_the_range_of_float16_survive_it(ours, tmp_path):
    name = 'image_net.stages.conv4.6.running_var'
    large = {**ours.state_dict, name: torch.full_like(ours.state_dict[name], 198_220.0)}
    save_checkpoint(large, tmp_path / 'a.safetensors', half=True)
    assert torch.equal(load_checkpoint(tmp_path / 'a.safetensors').state_dict[name], large[name])


def test_channels_last_and_shared_tensors_are_saved(tmp_path):
    model = narrow_model().to(memory_format=torch.channels_last)
    model.instance_net = model.image_net
    save_checkpoint(model.state_dict(), tmp_path / 'a.safetensors')
    assert same(load_checkpoint(tmp_path / 'a.safetensors').state_dict, dict(model.state_dict()))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_file_is_as_readable_as_any_other(ours, tmp_path, suffix):
    (tmp_path / 'other').touch()

    (path,) = save_checkpoint(ours.state_dict, tmp_path / f'a{suffix}')

    assert path.stat().st_mode == (tmp_path / 'other').stat().st_mode


@pytest.mark.parametrize('half', [False, True])
def test_what_the_fusion_network_has_of_the_full_image_network_is_stored_once(ours, model, tmp_path, half):
    weights = dict(ours.state_dict)
    kept = ('fusion_net.fusions.', 'fusion_net.stages.conv10.', 'fusion_net.ab_head.')
    for name in ours.state_dict:
        if name.startswith('fusion_net.') and not name.startswith(kept):
            weights[name] = weights[name.replace('fusion_net.', 'image_net.', 1)]
    path = tmp_path / 'a.safetensors'
    save_checkpoint(weights, path, metadata={'input_size': '128'}, half=half)

    with safe_open(path, framework='pt') as file:
        stored = set(file.keys())
    of_fusion = {name for name in stored if name.startswith('fusion_net.')}
    assert of_fusion == {name for name in weights if name.startswith(kept)}
    assert {name for name in weights if not name.startswith('fusion_net.')} <= stored
    back = load_checkpoint(path)
    assert back.metadata == {'input_size': '128'}
    if half:
        weights = {n: v.half().float() if v.is_floating_point() and 'var' not in n else v for n, v in weights.items()}
    assert same(back.state_dict, weights)
    model.load_state_dict(load_from_local(str(path))['state_dict'])
    assert same(dict(model.state_dict()), weights)


def test_an_incomplete_fusion_network_is_not_made_up(ours, tmp_path):
    lacking = 'fusion_net.stages.conv4.0.weight'
    save_file({name: value for name, value in ours.state_dict.items() if name != lacking}, tmp_path / 'a.safetensors')
    with pytest.raises(CheckpointError, match=lacking):
        load_checkpoint(tmp_path / 'a.safetensors')


def test_a_failed_write_leaves_the_old_file(ours, tmp_path, monkeypatch):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'old')

    def full_disk(part, target):
        part.write_bytes(b'half a file')
        raise OSError('no space left on device')

    monkeypatch.setattr(Path, 'replace', full_disk)
    with pytest.raises(OSError, match='no space'):
        save_checkpoint(ours.state_dict, path)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ['a.pth']
    assert path.read_bytes() == b'old'


def test_saving_is_strict(ours, tmp_path):
    weights = dict(ours.state_dict)
    del weights['fusion_net.stages.conv7.4.bias']
    with pytest.raises(CheckpointError, match=r'lacks fusion_net\.stages\.conv7\.4\.bias'):
        save_checkpoint(weights, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r"'a\.bin'"):
        save_checkpoint(ours.state_dict, tmp_path / 'a.bin')
    with pytest.raises(CheckpointError, match="one of instacolorization, mmagic, ours, but got 'siggraph17'"):
        save_checkpoint(ours.state_dict, tmp_path / 'a.pth', 'siggraph17')
    large = {**ours.state_dict, 'image_net.class_head.bias': torch.full((529,), 1e5)}
    with pytest.raises(CheckpointError, match=r'image_net\.class_head\.bias reaches 100000'):
        save_checkpoint(large, tmp_path / 'a.pth', half=True)
    assert not list(tmp_path.glob('*a.*'))


# Errors -------------------------------------------------------------------------------------------------------------


class Malicious:
    def __reduce__(self):
        return print, ('code from a checkpoint ran',)


def test_code_is_refused(tmp_path, capsys):
    torch.save({'state_dict': {'model1.0.weight': Malicious()}}, tmp_path / 'evil.pth')
    (tmp_path / 'raw.pth').write_bytes(pickle.dumps(Malicious(), protocol=2))
    for name in ('evil.pth', 'raw.pth'):
        with pytest.raises(CheckpointError, match=rf'{name} is refused: it holds code \(print\)'):
            load_checkpoint(tmp_path / name)
    assert capsys.readouterr().out == ''


class Sneaky:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_the_runners_bookkeeping_opens_no_other_door(tmp_path):
    torch.save({'state_dict': {}, 'message_hub': Sneaky()}, tmp_path / 'sneaky.pth')
    with pytest.raises(CheckpointError, match=r'sneaky\.pth is refused: it holds code \(getattr\)'):
        load_checkpoint(tmp_path / 'sneaky.pth')


class Reduced:
    """Pickles to a call of numpy's, and a state for its result."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


RECONSTRUCT = np.zeros(1).__reduce__()[0]
LYING_STATE = (3, '<', (np.dtype('f8'), (1000,)), None, None, -1, -1, 0)


def read_content(tmp_path, content):
    torch.save({'state_dict': {}, 'x': content}, tmp_path / 'x.pth')
    return read_file(tmp_path / 'x.pth')['x']


def test_a_dtype_takes_no_state_from_a_file(tmp_path):
    dtype = read_content(tmp_path, Reduced(np.dtype, ('f8', False, True), LYING_STATE))

    assert (dtype, dtype.subdtype, dtype.itemsize) == (np.dtype('f8'), None, 8)


@pytest.mark.parametrize('code', ['O', 'V8', 'S9', 'f8,O', 'M8[s]'])
def test_a_dtype_of_other_things_than_numbers_is_refused(tmp_path, code):
    with pytest.raises(CheckpointError, match=r'is refused: it holds code|truncated, damaged or no checkpoint'):
        read_content(tmp_path, Reduced(np.dtype, (code, False, True)))


@pytest.mark.parametrize(
    'array',
    [
        Reduced(RECONSTRUCT, (np.ndarray, (10**6,), b'd')),
        Reduced(np.ndarray, ((10**6,), np.dtype('f8'))),
    ],
    ids=['reconstruct', 'ndarray'],
)
def test_an_array_without_values_has_no_size(tmp_path, array):
    """Its memory would be what lay there before, and end up in the next checkpoint."""
    assert read_content(tmp_path, array).size == 0


def test_an_array_with_another_number_of_values_than_it_says_is_refused(tmp_path):
    array = Reduced(RECONSTRUCT, (np.ndarray, (0,), b'b'), (1, (10**6,), np.dtype('f8'), False, bytes(80)))

    with pytest.raises(CheckpointError, match='damaged or no checkpoint'):
        read_content(tmp_path, array)


def test_arrays_come_back_and_are_numpys_own_in_the_next_file(tmp_path):
    array = np.arange(6, dtype=np.float64).reshape(2, 3)

    read = read_content(tmp_path, {'array': array, 'number': np.float64(2.5)})

    np.testing.assert_array_equal(read['array'], array)
    assert read['number'] == 2.5
    assert b'insta_colorization' not in pickle.dumps(read)
    assert type(pickle.loads(pickle.dumps(read))['array']) is np.ndarray


@pytest.mark.parametrize(
    ('entry', 'fault'),
    [
        pytest.param(torch.eye(3).to_sparse(), 'is no dense tensor', id='sparse'),
        pytest.param(
            torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), 'is no dense tensor', id='quantized'
        ),
        pytest.param(torch.tensor(float('nan')), 'has values that are not finite', id='not finite'),
    ],
)
def test_entries_that_no_network_can_have_are_named_with_their_file(tmp_path, image_weights, entry, fault):
    state = load_checkpoint(image_weights).state_dict
    name = next(name for name, value in state.items() if value.is_floating_point())
    state[name] = entry if entry.ndim else state[name] * entry
    torch.save({'state_dict': state}, tmp_path / 'odd.pth')

    with pytest.raises(CheckpointError, match=rf'odd\.pth (cannot be used: its entry \S+ {fault}|is truncated)'):
        load_checkpoint(tmp_path / 'odd.pth')


def test_a_program_is_refused(tmp_path):
    torch.jit.script(nn.Conv2d(1, 1, 1)).save(tmp_path / 'program.pth')
    with pytest.raises(CheckpointError, match='TorchScript'):
        load_checkpoint(tmp_path / 'program.pth')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_damaged_files(ours, tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    save_checkpoint(ours.state_dict, path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b'no checkpoint at all\n', b'colours\nof nature\n'):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf'a{suffix} \({len(content)} bytes\) is truncated'):
            load_checkpoint(path)
    path.write_bytes(b'')
    with pytest.raises(CheckpointError, match='is empty'):
        load_checkpoint(path)
    path.unlink()
    with pytest.raises(CheckpointError, match='does not exist'):
        load_checkpoint(path)


def test_no_weights_inside(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match=r'list\.pth holds no weights, but a list'):
        load_checkpoint(tmp_path / 'list.pth')


def test_another_model(tmp_path):
    torch.save(nn.Transformer(8, 1, 1, 1, 8).state_dict(), tmp_path / 'words.pth')
    with pytest.raises(
        CheckpointError, match=r'words\.pth is the checkpoint of another model: .*encoder\.layers\.0'
    ) as e:
        load_checkpoint(tmp_path / 'words.pth')
    known = ', '.join(family.name for family in families())
    assert str(e.value).endswith(f'have the signature of no known family ({known})')


def test_unknown_missing_and_misshapen_entries(files, folder):
    entries = files['GF']
    entries['model1.0.extra'] = torch.zeros(1)
    del entries['model7.0.weight']
    for number in range(5):
        del entries[f'weight_layer{number + 3}.simple_bg_conv.0.bias']
    entries['model_out.0.weight'] = torch.zeros(3, 8, 1, 1)
    torch.save(entries, folder / 'latest_net_GF.pth')
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert str(folder / 'latest_net_GF.pth') in message
    assert "resembles the layout 'instacolorization' (fusion_net) most" in message
    assert 'lacks model7.0.weight, weight_layer3.simple_bg_conv.0.bias, ' in message
    assert 'and 3 more' in message
    assert 'has unknown model1.0.extra' in message
    assert 'has misshapen model_out.0.weight (3, 8, 1, 1) instead of (2, 8, 1, 1)' in message


def test_a_value_that_is_no_tensor(files, tmp_path):
    files['G']['model1.0.bias'] = 3
    torch.save(files['G'], tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'has misshapen model1\.0\.bias int instead of \(4,\)'):
        load_checkpoint(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    ('gone', 'message'),
    [
        (['GComp'], r'holds latest_net_G\.pth, latest_net_GF\.pth but lacks latest_net_GComp\.pth'),
        (['GF'], r'but lacks latest_net_GF\.pth; '),
        (['GComp', 'GF'], r'but lacks latest_net_GComp\.pth and latest_net_GF\.pth; to use one file'),
        (['GComp', 'G', 'GF'], 'holds no checkpoint'),
    ],
    ids=lambda value: '-'.join(value) if isinstance(value, list) else '',
)
def test_incomplete_folders(folder, gone, message):
    for name in gone:
        (folder / f'latest_net_{name}.pth').unlink()
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_confused_files(files, folder):
    save_file(files['G'], folder / 'latest_net_G.safetensors')
    with pytest.raises(CheckpointError, match=r'both latest_net_G\.pth and latest_net_G\.safetensors'):
        load_checkpoint(folder)
    with pytest.raises(CheckpointError, match='both named as the instance_net'):
        load_checkpoint([folder / 'latest_net_G.pth', folder / 'latest_net_G.safetensors'])
    with pytest.raises(CheckpointError, match='the names decide'):
        load_checkpoint([folder / 'latest_net_G.pth', folder / 'other.pth'])
    with pytest.raises(CheckpointError, match='no checkpoint was given'):
        load_checkpoint([])
    (folder / 'latest_net_G.safetensors').unlink()
    torch.save(files['G'], folder / 'latest_net_GF.pth')
    with pytest.raises(
        CheckpointError, match='hold the fusion_net by its name, but it holds a network like the image_net'
    ):
        load_checkpoint(folder)


def test_networks_of_different_widths(folder):
    torch.save(fake(recorded('insta_G', 8), 1), folder / 'latest_net_GComp.pth')
    with pytest.raises(CheckpointError, match=r'different widths: image_net 0\.125, instance_net 0\.0625'):
        load_checkpoint(folder)


# Into a model -------------------------------------------------------------------------------------------------------


def test_load_into(ours, model):
    load_into(model, ours)
    assert same(dict(model.state_dict()), ours.state_dict)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda ours: load_into(narrow_image_model(), ours), 'also holds instance_net and fusion_net, which Image'),
        (lambda ours: load_into(narrow_image_model(), ours, ['instance_net']), 'ImageColorizer has only image_net'),
        (lambda ours: load_into(narrow_model(1 / 8), ours), r'image_net of .* has width 0\.0625, .* has 0\.125'),
    ],
    ids=['lacking network', 'asked-for network', 'width'],
)
def test_load_into_the_wrong_model(ours, change, message):
    with pytest.raises(CheckpointError, match=message):
        change(ours)


def test_load_into_needs_every_network(published, model):
    checkpoint = load_checkpoint(published / 'latest_net_GComp.pth')
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match='has no instance_net and no fusion_net, which InstColorizer needs'):
        load_into(model, checkpoint)
    assert same(before, dict(model.state_dict()))
    load_into(model, checkpoint, networks=['image_net'])
    after = dict(model.state_dict())
    assert all(torch.equal(after[name], checkpoint.state_dict.get(name, before[name])) for name in after)


@pytest.mark.parametrize('wrapped', [False, True], ids=['plain', 'module.'])
@pytest.mark.parametrize('layout', ['ours', 'mmagic'])
def test_load_state_dict_knows_the_layouts(files, ours, model, layout, wrapped):
    entries = ours.state_dict if layout == 'ours' else in_mmagic_names(files)
    model.load_state_dict({f'module.{name}' if wrapped else name: value for name, value in entries.items()})
    assert same(dict(model.state_dict()), ours.state_dict)


def test_load_state_dict_inside_another_module(files, ours, model):
    outer = nn.ModuleDict({'inner': model, 'other': nn.Linear(1, 1)})
    entries = {f'inner.{name}': value for name, value in in_mmagic_names(files).items()}
    outer.load_state_dict({**entries, 'other.weight': torch.ones(1, 1), 'other.bias': torch.ones(1)})
    assert same(dict(outer['inner'].state_dict()), ours.state_dict)
    assert outer['other'].weight.item() == 1


@pytest.mark.parametrize('strict', [True, False])
def test_load_state_dict_never_loads_in_part(ours, model, strict):
    part = {name: value for name, value in ours.state_dict.items() if name.startswith('image_net.')}
    with pytest.raises(CheckpointError, match=r'the state dict holds image_net \(stage 1\), but InstColorizer'):
        model.load_state_dict(part, strict=strict)
    with pytest.raises(CheckpointError, match='another model'):
        model.load_state_dict({'a': torch.zeros(1)}, strict=strict)


# Through MMEngine ---------------------------------------------------------------------------------------------------


def runner(model: nn.Module, tmp_path: Path, **kwargs) -> Runner:
    name = f'{tmp_path.name}_{time.monotonic_ns()}'
    return Runner(model, work_dir=str(tmp_path / 'work'), experiment_name=name, default_scope=SCOPE, **kwargs)


@pytest.mark.usefixtures('registered')
@pytest.mark.parametrize('layout', ['instacolorization', 'mmagic', 'ours'])
@pytest.mark.slow
def test_runner_loads_from_every_layout(published, ours, model, tmp_path, layout):
    path = {'instacolorization': published, 'mmagic': tmp_path / 'a.pth', 'ours': tmp_path / 'a.safetensors'}[layout]
    if path != published:
        save_checkpoint(ours.state_dict, path, layout)
    runner(model, tmp_path, load_from=str(path)).load_or_resume()
    assert same(dict(model.state_dict()), ours.state_dict)


@pytest.mark.usefixtures('registered')
@pytest.mark.slow
def test_runner_starts_from_siggraph17(files, published, image_model, tmp_path):
    runner(image_model, tmp_path, load_from=str(published / 'latest_net_G.pth')).load_or_resume()
    assert torch.equal(image_model.image_net.stages['conv1'][0].weight, files['G']['model1.0.weight'])


@pytest.mark.slow
@pytest.mark.usefixtures('registered')
@pytest.mark.parametrize(
    'case', ['too few networks', 'too many networks', 'other model', 'other width', 'lacks an entry']
)
def test_runner_never_loads_in_part(published, ours, model, image_model, tmp_path, case):
    path = tmp_path / 'a.pth'
    match case:
        case 'too few networks':
            path, message = published / 'latest_net_G.pth', r'latest_net_G\.pth holds image_net \(stage 1\), but Inst'
        case 'too many networks':
            model, path, message = image_model, published, 'published also holds instance_net'
        case 'other model':
            torch.save(nn.Linear(2, 2).state_dict(), path)
            message = r'a\.pth is the checkpoint of another model'
        case 'other width':
            model, path, message = narrow_model(1 / 8), published, r'published has width 0\.0625'
        case 'lacks an entry':
            weights = dict(ours.state_dict)
            del weights['image_net.ab_head.0.bias']
            torch.save({'state_dict': weights}, path)
            message = r'a\.pth does not fit InstColorizer: it lacks image_net\.ab_head\.0\.bias'
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        runner(model, tmp_path, load_from=str(path)).load_or_resume()
    assert same(before, dict(model.state_dict()))


def training(tmp_path: Path, iterations: int, **kwargs) -> Runner:
    photos = [
        {'inputs': {'image': torch.full((3, 16, 16), 40 * i, dtype=torch.uint8)}, 'data_samples': ColorizationSample()}
        for i in range(4)
    ]
    model = narrow_image_model()
    run = runner(
        model,
        tmp_path,
        train_dataloader={
            'dataset': photos,
            'sampler': {'type': 'DefaultSampler', 'shuffle': False},
            'batch_size': 2,
            'collate_fn': {'type': 'pseudo_collate'},
        },
        train_cfg={'by_epoch': False, 'max_iters': iterations},
        optim_wrapper={'optimizer': {'type': 'Adam', 'lr': 1e-3}},
        param_scheduler={'type': 'ConstantLR', 'by_epoch': False},
        default_hooks={'checkpoint': {'type': 'CheckpointHook', 'by_epoch': False, 'interval': 2}},
        custom_hooks=[{'type': 'insta_colorization.RecalibratedEMAHook', 'recalibration_batches': 1}],
        **kwargs,
    )
    run.train()
    return run


@pytest.mark.usefixtures('registered')
@pytest.mark.slow
def test_the_runners_own_files(tmp_path):
    training(tmp_path, 2)
    path = tmp_path / 'work' / 'iter_2.pth'
    averaged = torch.load(path, weights_only=False)['state_dict']
    checkpoint = load_checkpoint(path)
    assert same(checkpoint.state_dict, dict(averaged))
    assert (checkpoint.layout, checkpoint.networks, checkpoint.sizes) == ('ours', ('image_net',), {'width': WIDTH})
    assert checkpoint.metadata['iter'] == '2'
    resumed = training(tmp_path, 4, load_from=str(path), resume=True)
    assert (resumed.iter, resumed.optim_wrapper.optimizer.state_dict()['state'][0]['step']) == (4, 4)


@pytest.mark.usefixtures('registered')
def test_pretrained_init_takes_one_network_of_a_folder(files, published):
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(published), 'prefix': 'instance_net'}
    model = ImageColorizer({'type': 'ColorizationBackbone', 'width': WIDTH, 'init_cfg': init_cfg})
    model.init_weights()
    assert torch.equal(model.image_net.stages['conv1'][0].weight, files['G']['model1.0.weight'])


@pytest.mark.usefixtures('registered')
@pytest.mark.parametrize('content', ['flat', 'wrapped', 'list'])
def test_other_models_pass_through_mmengines_loader(tmp_path, content):
    weights = nn.Linear(2, 3).state_dict()
    stored = {'flat': weights, 'wrapped': {'state_dict': weights, 'meta': {'classes': ['a']}}, 'list': [1, 2]}[content]
    torch.save(stored, tmp_path / 'a.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'), map_location='cpu')
    if content == 'list':
        assert loaded == [1, 2]
        return
    assert loaded.keys() == stored.keys()
    assert same(loaded.get('state_dict', loaded), weights)
    assert loaded.get('meta') == stored.get('meta')


def test_the_loader_names_what_is_wrong(tmp_path):
    torch.save({'a': Malicious()}, tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match='holds code'):
        load_from_local(str(tmp_path / 'evil.pth'))
    with pytest.raises(CheckpointError, match='does not exist'):
        load_from_local(str(tmp_path / 'none.pth'))


@pytest.mark.slow
def test_importing_changes_nothing_in_mmengine():
    rooms = ('datasets', 'detectors', 'models', 'checkpoints', 'engine.hooks')
    code = f"""
        import importlib, sys
        for room in {rooms[:-1]}:
            importlib.import_module(f'insta_colorization.{{room}}')
        assert 'mmengine.runner' not in sys.modules
        import insta_colorization.{rooms[-1]}
        from mmengine.runner import checkpoint
        assert checkpoint.CheckpointLoader._schemes[''] is checkpoint.load_from_local
    """
    done = alone.run(textwrap.dedent(code))
    assert done.returncode == 0, done.stderr


def test_a_run_with_our_hook_reads_every_layout(image_model, tmp_path, monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    CheckpointLoader.register_scheme('', lambda *args: None, force=True)
    hooks = {'checkpoint': {'type': 'WholeCheckpointHook'}}
    runner(image_model, tmp_path, default_hooks=hooks).call_hook('before_run')
    assert CheckpointLoader._schemes[''] is load_from_local


# Other families -----------------------------------------------------------------------------------------------------


class ECCV16(nn.Module):
    """The network of Zhang et al. 2016, as another project may have it; its names are partly the siggraph17 trunk's."""

    def __init__(self) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, 16, 16, 3, padding=1)
        strides = {'model1': 2, 'model2': 2, 'model3': 2}
        channels = 1
        for number, (width, convs) in enumerate(((4, 2), (8, 2), (16, 3), (32, 3), (32, 3), (32, 3), (32, 3)), 1):
            layers: list[nn.Module] = []
            for index in range(convs):
                stride = strides.get(f'model{number}', 1) if index == convs - 1 else 1
                layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.ReLU()]
                channels = width
            setattr(self, f'model{number}', nn.Sequential(*layers, nn.BatchNorm2d(width)))
        up = nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1)
        self.model8 = nn.Sequential(up, nn.ReLU(), conv(), nn.ReLU(), conv(), nn.ReLU(), nn.Conv2d(16, 313, 1))
        self.model_out = nn.Conv2d(313, 2, 1, bias=False)


@pytest.mark.usefixtures('registered')
@pytest.mark.parametrize('wrapper', [None, 'state_dict'])
def test_another_projects_model_loads_its_own_file_with_our_runner_about(image_model, tmp_path, wrapper):
    theirs, path = ECCV16(), tmp_path / 'colorization_release_v2.pth'
    weights = fake({name: tuple(value.shape) for name, value in theirs.state_dict().items()}, 4)
    torch.save(weights if wrapper is None else {wrapper: weights}, path)
    assert {'model1.0.weight', 'model8.6.bias'} < weights.keys()
    runner(image_model, tmp_path)
    mmengine_load(theirs, str(path), strict=True)
    assert same(dict(theirs.state_dict()), weights)
    assert load_checkpoint(path).family.name == 'patch'
    with pytest.raises(CheckpointError, match=r'v2\.pth has no image_net, which ImageColorizer needs'):
        runner(image_model, tmp_path, load_from=str(path)).load_or_resume()


@pytest.mark.parametrize(
    ('name', 'shape'),
    [('model1.0.weight', (4, 1, 3, 3)), ('model1.0.weight', (4, 4)), ('model_class.0.weight', (529,))],
    ids=['one input channel', 'no convolution', 'no class head'],
)
def test_names_alone_make_no_family(files, tmp_path, name, shape):
    entries = {**files['G'], name: torch.zeros(shape)}
    torch.save(entries, tmp_path / 'a.pth')
    assert same(load_from_local(str(tmp_path / 'a.pth')), entries)
    with pytest.raises(CheckpointError, match='no known family'):
        load_checkpoint(tmp_path / 'a.pth')


@pytest.mark.parametrize('wrapper', ['model', 'G'])
def test_what_no_family_owns_stays_as_it_is(tmp_path, wrapper):
    content = {wrapper: nn.Linear(2, 3).state_dict(), 'epoch': 3}
    torch.save(content, tmp_path / 'a.pth')
    loaded = load_from_local(str(tmp_path / 'a.pth'))
    assert loaded.keys() == content.keys()
    assert same(loaded[wrapper], content[wrapper])


TOY = """
from torch import nn

from insta_colorization.checkpoints import FAMILIES, Family, Layout, TrainingStage
from insta_colorization.models import Colorizer
from insta_colorization.registry import MODELS


@MODELS.register_module()
class TintNet(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.read = nn.Conv2d(1, channels, 1)
        self.write = nn.Conv2d(channels, 2, 1)


@MODELS.register_module()
class TintColorizer(Colorizer):
    def __init__(self, tint_net=None, **kwargs):
        super().__init__({'tint_net': tint_net or {'type': 'TintNet'}}, **kwargs)


@FAMILIES.register_module()
class TintFamily(Family):
    name = 'tint'
    signatures = {'tint_net': {'read.weight': (None, 1, 1, 1), 'write.weight': (2, None, 1, 1)}}
    stages = (TrainingStage(('tint_net',), 'TintColorizer'),)
    published = (Layout('paper', {'tint_net': 'net.'}, files={'tint_net': 'tint'}),)

    def network_cfg(self, network, sizes):
        return {'type': 'TintNet', 'channels': int(sizes['channels'])}

    def measure(self, network, shape_of):
        return {'channels': (shape_of('read.bias') or (4,))[0]}
"""


@pytest.fixture
def tint(tmp_path, monkeypatch) -> type[nn.Module]:
    """The colorizer of another package, which a config's `custom_imports` makes known."""
    for registry in (FAMILIES, MODELS):
        registry.import_from_location()
        monkeypatch.setattr(registry, '_module_dict', dict(registry._module_dict))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'tint_package.py').write_text(TOY)
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['tint_package'])")
    Config.fromfile(tmp_path / 'config.py')
    yield sys.modules['tint_package'].TintColorizer
    del sys.modules['tint_package']


@pytest.mark.parametrize('layout', ['ours', 'paper'])
def test_a_family_of_another_package(tint, tmp_path, layout):
    trained = tint({'type': 'TintNet', 'channels': 6}, losses={})
    path = tmp_path / 'weights' if layout == 'paper' else tmp_path / 'a.safetensors'
    save_checkpoint(trained.state_dict(), path, layout)
    checkpoint = load_checkpoint(path)
    assert (checkpoint.family.name, checkpoint.layout, checkpoint.sizes) == ('tint', layout, {'channels': 6})
    model = colorizer_for(checkpoint, {'type': 'TintColorizer', 'losses': {'ab': {'type': 'HuberLoss'}}})
    assert same(dict(model.state_dict()), dict(trained.state_dict()))
    tint({'type': 'TintNet', 'channels': 6}).load_state_dict(load_from_local(str(path))['state_dict'])
    with pytest.raises(CheckpointError, match=r'tint_net of .* has channels 6, but that of TintColorizer has 4'):
        load_into(tint(), checkpoint)
    with pytest.raises(ValueError, match="the config's model must be one of TintColorizer, but is InstColorizer"):
        colorizer_for(checkpoint, {'type': 'InstColorizer'})


def test_a_folder_with_files_of_two_families(tint, folder, tmp_path):
    save_checkpoint(tint().state_dict(), folder, 'paper')
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert str(caught.value) == (
        f'{folder} holds files of different families: latest_net_GComp.pth (insta), latest_net_G.pth (insta), '
        'latest_net_GF.pth (insta), tint.pth (tint); give the path of what is meant'
    )
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'no known family \(insta, .*, tint\)'):
        load_checkpoint(tmp_path / 'a.pth')


@pytest.mark.slow
def test_full_width(tmp_path):
    trunk, fusion = recorded('insta_G', 1), recorded('insta_GF', 1)
    files = {'GComp': fake(trunk, 1), 'G': fake(trunk, 2), 'GF': fake(fusion, 3)}
    for name, entries in files.items():
        torch.save(entries, tmp_path / f'latest_net_{name}.pth')
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.sizes['width'] == 1
    model = InstColorizer()
    load_into(model, checkpoint)
    assert same(dict(model.state_dict()), checkpoint.state_dict)
    save_checkpoint(checkpoint.state_dict, tmp_path / 'mmagic.pth', 'mmagic')
    written = torch.load(tmp_path / 'mmagic.pth', weights_only=True)['state_dict']
    assert {name: tuple(value.shape) for name, value in written.items()} == recorded('mmagic', 1)
    assert same(load_checkpoint(tmp_path / 'mmagic.pth').state_dict, checkpoint.state_dict)
