"""`detect_instances.py` as a user runs it: killed, repeated, by several processes."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import cv2
import forked
import numpy as np
import pytest
from skimage.data import astronaut

from insta_colorization.detectors import CachedDetector, OnnxDetector
from insta_colorization.detectors.selection import select
from insta_colorization.imaging.photo import load_rgb

ROOT = Path(__file__).resolve().parents[2]
ENV = {'CUDA_VISIBLE_DEVICES': ''}

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def album(tmp_path_factory) -> Path:
    """Nine photos in which OpenCV's own detector finds a face, each a little different, two of them in a sub-folder."""
    folder = tmp_path_factory.mktemp('album')
    (folder / 'deeper').mkdir()
    for number in range(9):
        name = f'deeper/{number}.png' if number > 6 else f'{number}.png'
        cv2.imwrite(str(folder / name), astronaut()[: 500 - 20 * number, : 500 - 10 * number, ::-1])
    return folder


@pytest.fixture(scope='module')
def whole(album, tmp_path_factory) -> bytes:
    """What one process that nobody stops writes."""
    out = tmp_path_factory.mktemp('whole') / 'out.json'
    done = detect('opencv', album, out)
    assert done.returncode == 0, done.stderr
    assert 'in 9 photos, 0 of them without any; 0 photos failed' in done.stdout
    return out.read_bytes()


TOOL = ROOT / 'tools' / 'detect_instances.py'


def detect(detector: object, photos: Path, out: Path, *options: str, **settings: Any) -> subprocess.CompletedProcess:
    return forked.run(TOOL, detector, photos, '--out', out, '--recursive', *options, cwd=out.parent, **settings, **ENV)


def detect_with_two(detector: object, photos: Path, out: Path) -> subprocess.CompletedProcess:
    return detect(detector, photos, out, '--launcher', 'pytorch', processes=2)


# Runs a tool that is killed while it writes record `argv[1]` + 1 of its journal.
KILLED = """
import os, runpy, signal, sys
from insta_colorization.fileio.journal import Journal

append, lines = Journal.append, iter(range(int(sys.argv[1])))

def write(journal, record):
    if next(lines, None) is None:
        journal._file.write(b'{"file_na')
        journal._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    append(journal, record)

Journal.append = write
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def kill_after_photos(count: int, photos: Path, out: Path) -> None:
    """Runs the tool until it has written this many photos and half of another one."""
    script = out.with_name('killed.py')
    script.write_text(KILLED)
    done = forked.run(script, count, TOOL, 'opencv', photos, '--out', out, '--recursive', cwd=out.parent, **ENV)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_and_repeated_is_as_if_never_stopped(album, whole, tmp_path):
    kill_after_photos(2, album, tmp_path / 'out.json')
    assert not (tmp_path / 'out.json').exists()

    done = detect('opencv', album, tmp_path / 'out.json')

    assert done.returncode == 0, done.stderr
    assert '2 of 9 photos were done before' in done.stderr
    assert (tmp_path / 'out.json').read_bytes() == whole
    assert not (tmp_path / 'out.json.parts').exists()


def test_two_processes_go_on_after_one_and_write_the_same_bytes(album, whole, tmp_path):
    kill_after_photos(2, album, tmp_path / 'out.json')

    done = detect_with_two('opencv', album, tmp_path / 'out.json')

    assert done.returncode == 0, done.stderr
    assert done.stdout.count(' photos failed') == 1
    assert (tmp_path / 'out.json').read_bytes() == whole


def test_two_processes_name_and_count_their_broken_photos_together(album, whole, tmp_path):
    for name in ('7.png', '8.png'):
        (tmp_path / 'photos').mkdir(exist_ok=True)
        (tmp_path / 'photos' / name).write_bytes(b'no photo')
    (tmp_path / 'photos' / '9.png').symlink_to(album / '0.png')

    done = detect_with_two('none', tmp_path / 'photos', tmp_path / 'out.json')

    assert done.returncode == 1
    assert 'in 1 photos, 1 of them without any; 2 photos failed' in done.stdout
    assert sorted(line[:7] for line in done.stderr.splitlines() if line.startswith('failed')) == ['failed:'] * 2
    assert [image['file_name'] for image in json.loads((tmp_path / 'out.json').read_text())['images']] == ['9.png']


def test_an_error_of_two_processes_is_said_once(album, tmp_path):
    done = detect_with_two('nothing', album, tmp_path / 'out.json')

    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert "there is no detector 'nothing'" in line


@pytest.fixture(scope='module')
def model(shared) -> Path:
    path = shared / 'detector' / 'yolox_nano.onnx'
    if not path.is_file():
        pytest.skip('there is no detector/yolox_nano.onnx in ../shared')
    return path


def test_yolox_on_coco_photos(shared, model, tmp_path):
    """Equal to detecting directly."""
    source = shared / 'data' / 'eval' / 'images'
    if not source.is_dir():
        pytest.skip('there is no data/eval in ../shared')
    (tmp_path / 'photos').mkdir()
    photos = sorted(source.iterdir())[::20]
    for photo in photos:
        (tmp_path / 'photos' / photo.name).symlink_to(photo)

    assert detect(model, tmp_path / 'photos', tmp_path / 'out.json').returncode == 0

    cached, detector = CachedDetector(tmp_path / 'out.json'), OnnxDetector(model)
    count = 0
    for photo in photos:
        image = load_rgb(photo)
        direct = select(detector.detect([image])[0], detector.score_thr)
        (read,) = cached.detect([image], [str(photo)])
        np.testing.assert_array_equal(read.in_pixels(), direct.in_pixels())
        np.testing.assert_array_equal(read.scores, direct.scores)
        count += len(direct)
    assert count > len(photos)
