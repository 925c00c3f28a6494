"""A new method trains, is measured and colours in the demo without any edit of the package or its tools."""

import json
import os
from pathlib import Path

import forked
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TOY = Path(__file__).with_name('toy_colorizer')
CONFIG = TOY / 'toy_photos_32x32.py'

pytestmark = pytest.mark.slow


def run(script: str, *arguments: object, cwd: Path) -> None:
    path = os.pathsep.join(filter(None, (str(TOY), os.environ.get('PYTHONPATH'))))
    done = forked.run(ROOT / script, *arguments, cwd=cwd, PYTHONPATH=path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Four photos, and what training leaves."""
    folder = tmp_path_factory.mktemp('toy')
    (folder / 'photos').mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
        coarse.resize((90, 70), Image.Resampling.BICUBIC).save(folder / 'photos' / f'{index}.png')
    run('tools/train.py', CONFIG, '--work-dir', 'work', '--cfg-options', *photos_of(folder), cwd=folder)
    return folder


def photos_of(folder: Path) -> list[str]:
    return [f'{loader}_dataloader.dataset.data_root={folder / "photos"}' for loader in ('train', 'val', 'test')]


def test_it_is_measured(folder):
    options = ['--out', 'results.json', '--work-dir', 'test', '--cfg-options', *photos_of(folder)]
    run('tools/test.py', CONFIG, 'work/epoch_1.pth', *options, cwd=folder)

    results = json.loads((folder / 'results.json').read_text())
    protocol = results['protocol']
    assert (protocol['model'], protocol['networks']) == ('ToyColorizer', ['tone_net'])
    assert (protocol['size'], protocol['network_size'], protocol['num_photos']) == ([64, 64], 32, 4)
    assert protocol['boxes']['networks'] is None
    assert results['metrics']['image']['PSNR'] > 5


@pytest.mark.parametrize('native', [False, True], ids=['whole', 'native size'])
def test_it_colours_in_the_demo(folder, native):
    out = folder / f'out_{native}'
    options = ['--img', 'photos/0.png', '--out-dir', out, *['--native-size'] * native]
    run('demo/colorization_demo.py', CONFIG, 'work/epoch_1.pth', *options, cwd=folder)

    with Image.open(out / '0.png') as picture:
        assert picture.size == ((64, 64) if native else (90, 70))
        assert np.ptp(np.asarray(picture.convert('RGB')).astype(int), axis=-1).max() > 5
