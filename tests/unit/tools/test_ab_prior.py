import json

import numpy as np
import pytest
from PIL import Image
from scripts import load_script


@pytest.fixture(scope='module')
def tool():
    return load_script('tools/dataset_converters/ab_prior.py')


@pytest.fixture
def run(tool, tmp_path, capsys):
    """Counts in `tmp_path` into `tmp_path/new/prior.json`; gives the status and what is on stdout and stderr."""

    def run() -> tuple[int, str, str]:
        status = tool.main([str(tmp_path), '--out', str(tmp_path / 'new' / 'prior.json')])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_frequencies(run, tmp_path):
    # A grey lies in the middle class; by scikit-image (200, 100, 100) has a 39.7 and b 18.6.
    for name, colour in (('grey', (90, 90, 90)), ('red', (200, 100, 100))):
        Image.new('RGB', (8, 8), colour).save(tmp_path / f'{name}.png')
    (tmp_path / 'train.txt').write_text('grey.png\ngrey.png\ngrey.png\nred.png\n')

    status, printed, _ = run()

    frequencies = np.array(json.loads((tmp_path / 'new' / 'prior.json').read_text()))
    assert status == 0
    assert printed.endswith('2 of 529 classes occur\n')
    assert np.flatnonzero(frequencies).tolist() == [11 * 23 + 11, 15 * 23 + 13]
    np.testing.assert_allclose(frequencies[frequencies > 0], [0.75, 0.25])


@pytest.mark.parametrize(
    ('listed', 'message'),
    [
        pytest.param(None, 'the list {folder}/train.txt does not exist', id='no list'),
        pytest.param('\n', 'the list {folder}/train.txt names 0 photos, but at least 1 is needed', id='empty list'),
        pytest.param('no.png\n', 'cannot read {folder}/no.png: ', id='no photo'),
    ],
)
def test_errors_are_one_sentence(run, tmp_path, listed, message):
    if listed is not None:
        (tmp_path / 'train.txt').write_text(listed)

    status, _, error = run()

    assert (status, error.count('\n')) == (1, 1)
    assert error.startswith(f'error: {message.format(folder=tmp_path)}')
    assert not (tmp_path / 'new' / 'prior.json').exists()
