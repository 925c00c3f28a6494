import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from insta_colorization.recipes import DEFAULT_WEIGHTS

CONFIG = 'configs/insta/photos/insta_full_photos_w025_128x128.py'

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of smooth colours, none of them square."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for index in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
        coarse.resize((150, 100), Image.Resampling.BICUBIC).save(folder / f'{index}.png')
    return folder


def measure(root: Path, folder: Path, tmp_path: Path, *checkpoint: str) -> dict[str, float]:
    out = tmp_path / 'metrics.json'
    options = ['--out', str(out), '--work-dir', str(tmp_path / 'logs'), '--cfg-options']
    options += [f'test_dataloader.dataset.data_root={folder}', 'test_dataloader.num_workers=0']
    options += ['test_dataloader.persistent_workers=False']
    command = [sys.executable, 'tools/test.py', CONFIG, *checkpoint, *options]
    subprocess.run(command, cwd=root, check=True, env={**os.environ, 'OMP_NUM_THREADS': '1'}, capture_output=True)
    return json.loads(out.read_text())


def test_without_a_checkpoint_photos_left_grey_are_measured(root, folder, tmp_path):
    metrics = measure(root, folder, tmp_path)
    assert metrics['CF/prediction'] < 0.5 < metrics['CF/truth']
    truth = [np.asarray(Image.open(path).resize((256, 256), Image.Resampling.BILINEAR)) for path in folder.iterdir()]
    gray = [255 * lab2rgb(rgb2lab(photo) * [1, 0, 0]) for photo in truth]
    errors = [np.square(t - g).mean() for t, g in zip(truth, gray, strict=True)]
    assert metrics['PSNR/dB'] == pytest.approx(np.mean(10 * np.log10(255**2 / np.array(errors))), abs=0.02)


def test_the_shipped_weights_give_colour(root, folder, tmp_path):
    metrics = measure(root, folder, tmp_path, str(DEFAULT_WEIGHTS))
    assert metrics['CF/prediction'] > 5
    assert set(metrics) >= {'PSNR/dB', 'PSNR/dB_median', 'CF/truth', 'CF/prediction_median'}
