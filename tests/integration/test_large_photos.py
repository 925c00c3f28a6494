"""Memory of large photos, in a process of its own: what is above the imported libraries and the loaded weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from insta_colorization.imaging.photo import write_photo

MEGAPIXELS = 12
RUN = """
import json, re, sys
from pathlib import Path
import pyvips
from insta_colorization.apis.inferencer import ColorizationInferencer

def kilobytes(field):
    # Not `getrusage`, whose peak begins with that of the process that started this one.
    return int(re.search(field + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1])

photo, weights, out, detector = sys.argv[1:]
inferencer = ColorizationInferencer(weights=weights, device='cpu', detector=detector, max_instances=64)
inferencer.predictor.detector
loaded = kilobytes('VmRSS')
(record,) = inferencer(photo, out_dir=out, suffix='jpg', saturation=0.1)['predictions']
above = kilobytes('VmHWM') - loaded
print(json.dumps({'megabytes': above / 1024, 'instances': len(record['boxes']), 'size': record['size']}))
"""


@pytest.fixture(scope='module')
def photo(tmp_path_factory) -> Path:
    """A photo of twelve megapixels with 64 boxes beside it."""
    folder = tmp_path_factory.mktemp('large')
    waves = np.sin(np.linspace(0, 60, 3000))[:, None] + np.cos(np.linspace(0, 70, 4000))
    write_photo(((waves + 2) * 63).astype(np.uint8), folder / 'photo.jpg')
    corner = np.random.default_rng(0).uniform(0, 2000, (64, 2))
    boxes = np.concatenate([corner, corner + np.linspace(50, 1000, 64)[:, None]], axis=1)
    (folder / 'boxes').mkdir()
    np.savez(folder / 'boxes' / 'photo.npz', bbox=boxes.astype(np.float32), scores=np.ones(64, np.float32))
    return folder / 'photo.jpg'


@pytest.mark.slow
@pytest.mark.parametrize(('detector', 'instances'), [('boxes', 64), ('opencv', None)])
def test_memory_is_some_20_bytes_a_pixel_whatever_the_instances(photo, fused_weights, tmp_path, detector, instances):
    name = str(photo.parent / 'boxes') if detector == 'boxes' else detector
    command = [sys.executable, '-c', RUN, str(photo), str(fused_weights), str(tmp_path / 'out'), name]

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, 'OMP_NUM_THREADS': '1'}
    )

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result['size'] == [3000, 4000]
    assert instances is None or result['instances'] == instances
    # Libraries that load when they are first used, then pixels twice, lightness, and what encodes them. A copy of the
    # photo in float64 would be 24 bytes a pixel more.
    assert result['megabytes'] < 100 + 25 * MEGAPIXELS, result
