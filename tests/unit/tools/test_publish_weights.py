import hashlib
import json
import re

import pytest
from safetensors import safe_open
from scripts import load_script

CONFIG = """
input_size = 64
model = dict(type='InstColorizer', decoder=dict(type='AnnealedMeanDecoder', temperature=0.5), mask_centre=0.0)
"""


@pytest.fixture(scope='module')
def tool():
    return load_script('tools/model_converters/publish_weights.py')


@pytest.fixture
def config(tmp_path):
    (tmp_path / 'mine.py').write_text(CONFIG)
    return tmp_path / 'mine.py'


@pytest.fixture
def run(tool, tmp_path, image_weights, capsys):
    """Publishes into `tmp_path/out.safetensors`; gives the status and what was printed."""

    def run(config, *options, checkpoint=image_weights, out=tmp_path / 'out.safetensors') -> tuple[int, str]:
        status = tool.main([str(item) for item in (config, checkpoint, out, *options)])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def header_of(path) -> dict[str, str]:
    with safe_open(path, framework='pt') as file:
        return file.metadata()


def test_the_header_says_what_prediction_must_know(run, config, tmp_path):
    status, text = run(config)

    header = header_of(tmp_path / 'out.safetensors')
    assert status == 0
    assert (header['config'], header['input_size'], header['mask_centre']) == ('mine', '64', '0.0')
    assert json.loads(header['decoder']) == {'type': 'AnnealedMeanDecoder', 'temperature': 0.5}
    assert text.endswith(f'sha256 {hashlib.sha256((tmp_path / "out.safetensors").read_bytes()).hexdigest()}\n')


def test_a_recipes_name(run, tmp_path):
    assert run('insta_full_cocostuff_256x256')[0] == 0

    header = header_of(tmp_path / 'out.safetensors')
    assert (header['config'], header['input_size']) == ('insta_full_cocostuff_256x256', '256')
    assert 'presets' not in header
    assert json.loads(header['decoder'])['type'] == 'RegressionDecoder'


@pytest.mark.parametrize(
    ('given', 'decoder'),
    [
        ('regression', {'type': 'RegressionDecoder'}),
        ('regression:1.1', {'type': 'RegressionDecoder', 'gain': 1.1}),
        ('annealed-mean:0.38', {'type': 'AnnealedMeanDecoder', 'temperature': 0.38}),
    ],
)
def test_another_decoder_than_the_configs(run, config, tmp_path, given, decoder):
    assert run(config, '--decoder', given)[0] == 0

    assert json.loads(header_of(tmp_path / 'out.safetensors')['decoder']) == decoder


def test_presets_are_kept_and_natural_is_the_default(run, tmp_path):
    natural, vivid = {'type': 'RegressionDecoder', 'gain': 1.2}, {'type': 'AnnealedMeanDecoder'}
    config = tmp_path / 'mine.py'
    presets = f'dict(natural={natural}, vivid={vivid})'
    config.write_text(f"input_size = 64\nmodel = dict(type='InstColorizer', presets={presets})\n")

    assert run(config)[0] == 0

    header = header_of(tmp_path / 'out.safetensors')
    assert json.loads(header['presets']) == {'natural': natural, 'vivid': vivid}
    assert json.loads(header['decoder']) == natural


@pytest.mark.parametrize(
    ('content', 'options', 'message'),
    [
        pytest.param(None, (), 'config {config} does not exist; close names are ', id='no config'),
        pytest.param('x = [', (), 'config {config} cannot be used: ', id='broken config'),
        pytest.param("model = dict(type='X')", (), 'config {config} has no `input_size`, but has model', id='no size'),
        pytest.param(CONFIG, ('--decoder', 'mean'), "the decoder must be .* but got 'mean'", id='decoder'),
        pytest.param(
            CONFIG, ('--decoder', 'regression:nan'), 'gain must be positive and finite, but got nan', id='gain'
        ),
    ],
)
def test_errors_are_one_sentence(run, tmp_path, content, options, message):
    config = tmp_path / 'mine.py'
    if content is not None:
        config.write_text(content)

    status, text = run(config, *options)

    assert (status, text.count('\n')) == (1, 1)
    assert text.startswith('error: ')
    assert re.search(message.format(config=config), text)
    assert not (tmp_path / 'out.safetensors').exists()


def test_a_missing_checkpoint(run, config, tmp_path):
    assert run(config, checkpoint=tmp_path / 'no.pth') == (1, f'error: checkpoint {tmp_path}/no.pth does not exist\n')
