"""tools/analysis_tools/benchmark.py at a sixteenth of the width; how long anything takes is not looked at."""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from insta_colorization.utils.configs import find_config

ROOT = Path(__file__).resolve().parents[2]
SMALL = ['--threads', '1', '--repeats', '1', '--device', 'cpu', '--batch-sizes', '1']

pytestmark = pytest.mark.slow


@pytest.fixture
def tool(monkeypatch) -> ModuleType:
    """The tool, by a name that a new process finds as well; its cases stay in this process."""
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'analysis_tools')
    tool = importlib.import_module('benchmark')
    monkeypatch.setattr(tool, 'apart', tool.in_own_process, raising=False)
    monkeypatch.setattr(tool, 'in_own_process', tool.measure)
    monkeypatch.setattr(tool, 'keep_between_photos', lambda size: None)
    monkeypatch.setattr(tool, 'LARGE_SIZE', (160, 240))
    return tool


@pytest.fixture
def run(tool, tmp_path, capsys):
    """Runs the tool; gives its status, its rows, and what it printed."""

    def run(*options: object) -> tuple[int, list[dict], str]:
        out = tmp_path / 'benchmark.json'
        try:
            status = tool.main([*map(str, options), *SMALL, '--out', str(out)])
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        rows = json.loads(out.read_text())['rows'] if out.exists() else []
        return status, rows, printed.out + printed.err

    return run


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A recipe of the three networks at a sixteenth of their width, without any weights."""
    config = Config.fromfile(find_config('insta_fusion_cocostuff_256x256'))
    for network in ('image_net', 'instance_net', 'fusion_net'):
        config.model[network].width = 1 / 16
    config.input_size = 32
    config.dump(tmp_path / 'small.py')
    return tmp_path / 'small.py'


def test_each_case_is_measured_once(run, recipe, fused_weights):
    ways = ('--instances', 2, 0, 2, '--sizes', 32, 64, '--precision', 'fp32', 'bf16')

    status, rows, text = run(recipe, fused_weights, *ways)

    assert status == 0, text
    assert [(row['precision'], row['size'], row['instances']) for row in rows] == [
        (precision, size, count) for precision in ('fp32', 'bf16') for size in (32, 64) for count in (0, 2)
    ]
    for row in rows:
        assert (row['photos'], row['failed'], row['path']) == (1, 0, 'astronaut.jpg')
        assert row['ms'] > 0
        assert row['networks_ms'] > 0
    lines = [line for line in text.splitlines() if line.startswith('| ')]
    assert len(lines) == 2 + len(rows)
    assert lines[2].startswith('| photo | fp32 | 32 | 0 | 1 | 1 | ')


def test_a_config_alone_gets_random_weights(run, recipe):
    status, (row,), text = run(recipe, '--instances', 1)

    assert status == 0, text
    assert (row['size'], row['instances'], row['failed']) == (None, 1, 0)
    assert '| photo | fp32 | own | 1 | 1 | 1 | ' in text


def test_a_large_photo_and_a_folder(run, recipe, fused_weights, tmp_path):
    photos = tmp_path / 'photos'
    (photos / 'deeper').mkdir(parents=True)
    for name in ('0.png', '1.png', 'deeper/2.png'):
        Image.fromarray(np.full((20, 30, 3), 80, np.uint8)).save(photos / name)
    (photos / 'broken.png').write_bytes(b'no photo')

    status, rows, text = run(recipe, fused_weights, '--instances', 0, '--large', '--folder', photos)

    assert status == 0, text
    assert [(row['what'], row['instances'], row['photos'], row['failed']) for row in rows] == [
        ('photo', 0, 1, 0),
        ('large photo', 8, 1, 0),
        ('large photo', 64, 1, 0),
        ('folder', None, 4, 1),
    ]


def test_as_many_boxes_as_wanted_inside_every_photo(tool):
    detector = tool.GivenBoxes(64)

    wide, high = detector.detect([np.zeros((40, 90, 3), np.uint8), np.zeros((90, 40, 3), np.uint8)])

    assert len(wide) == len(high) == 64
    assert (wide.boxes.numpy() <= [90, 40, 90, 40]).all()
    assert (high.boxes == detector.detect([np.zeros((90, 40, 3), np.uint8)])[0].boxes).all()


def kill_itself(case: object, setup: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(case: object, setup: object) -> None:
    raise ValueError('no')


def test_a_killed_process_leaves_a_case_out_and_an_error_is_an_error(tool, monkeypatch, capsys):
    case = tool.Case('photo', 'a.png', 'fp32', 64, 1, 1)

    monkeypatch.setattr(tool, 'measure', kill_itself)
    assert tool.apart(case, None) == {}
    assert 'its process was killed, probably for its memory: photo a.png, fp32, 64, 1 inst' in capsys.readouterr().err
    monkeypatch.setattr(tool, 'measure', refuse)
    with pytest.raises(ValueError, match='no'):
        tool.apart(case, None)
    assert tool.table([{'what': 'photo', 'size': 64}]).endswith('| photo |  | 64 | detected |  | – | – | – | – |')


PEAK = """
import sys
import torch
import benchmark
print(benchmark.peak_mb(lambda: torch.ones(75_000_000), torch.nn.Linear(1, 1)))  # 300 MB
"""


def test_peak_memory_of_a_process():
    # A process of its own: in this one, what earlier tests freed may still be at hand.
    folder = ROOT / 'tools' / 'analysis_tools'
    env = {**os.environ, 'PYTHONPATH': f'{folder}:{os.environ.get("PYTHONPATH", "")}'}
    done = subprocess.run([sys.executable, '-c', PEAK], capture_output=True, text=True, check=True, env=env)

    assert done.stdout == 'None\n' or float(done.stdout) == pytest.approx(300, abs=20)


@pytest.mark.parametrize('sets_back', [True, False, None])
def test_memory_is_unknown_where_the_kernel_does_not_set_its_mark_back(tool, monkeypatch, fused_weights, sets_back):
    """500 MB in use, 700 at most until the mark is set back, then up to 600."""
    memory = {'VmRSS': 500.0, 'VmHWM': 700.0}

    def write(path: Path, text: str) -> int:
        assert (str(path), text) == ('/proc/self/clear_refs', '5')
        if sets_back is None:
            raise PermissionError(f'{path} cannot be written')
        if sets_back:
            memory['VmHWM'] = memory['VmRSS']
        return len(text)

    monkeypatch.setattr(tool, 'resident_mb', lambda field='VmRSS': memory[field])
    monkeypatch.setattr(Path, 'write_text', write)
    monkeypatch.setattr(tool.ctypes, 'CDLL', lambda name: type('Libc', (), {'malloc_trim': staticmethod(id)}))

    class Model:
        def parameters(self):
            import torch

            yield torch.zeros(1)

    found = tool.peak_mb(lambda: memory.update(VmHWM=max(memory['VmHWM'], 600.0)), Model())

    assert found == (100 if sets_back else None)


@pytest.mark.parametrize(
    ('options', 'status', 'message'),
    [
        (['--sizes', '60'], 1, 'input_size must be a positive multiple of 32, but got 60'),
        (['--instances', '-1'], 2, '--instances must be at least 0, but is -1'),
        (['--repeats', '0'], 2, '--repeats must be at least 1, but is 0'),
        (['--precision', 'fp16'], 1, "precision 'fp16' needs a GPU"),
        (['--folder', 'nowhere'], 1, 'the folder nowhere does not exist'),
        (['--photo', 'nowhere.jpg', '--large'], 1, 'nowhere.jpg'),
        (['insta_ful'], 1, 'config insta_ful does not exist'),
    ],
)
def test_errors_are_one_sentence(tool, tmp_path, capsys, options, status, message):
    try:
        ended = tool.main([*SMALL, '--out', str(tmp_path / 'x.json'), *options])
    except SystemExit as error:
        ended = error.code

    assert ended == status
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / 'x.json').exists()
