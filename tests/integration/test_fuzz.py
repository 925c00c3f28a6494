"""A sample of `make fuzz`, and the order in which a command has the disk keep what it writes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: object, **settings) -> subprocess.CompletedProcess:
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT / 'projects')}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, env=env, **settings)


@pytest.mark.slow
def test_a_sample_of_the_campaign():
    counts = {'images': 150, 'checkpoints': 20, 'boxes': 40, 'kills': 3, 'races': 100}
    options = [text for name, count in counts.items() for text in (f'--{name}', count)]

    done = run(sys.executable, ROOT / 'tests/fuzz/campaign.py', '--seed', 1, *options)

    assert done.returncode == 0, done.stdout + done.stderr
    found = '0 traceback, 0 crash, 0 hang, 0 spike, 0 program, 0 lost'
    assert re.fullmatch(f'fuzz: seed 1, 150 images, .* s: {found}', done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('strace') is None, reason='there is no strace')
def test_contents_are_flushed_before_the_name_and_the_name_after(tmp_path):
    """A simulated power cut at any place of this order finds the old file or the whole new one."""
    code = 'import sys; from pathlib import Path; from insta_colorization.fileio.files import write_whole as w; '
    command = [sys.executable, '-c', code + "w(b'x', Path(sys.argv[1]))", tmp_path / 'result.png']
    traced = run('strace', '-f', '-y', '-o', tmp_path / 'log', '-e', 'trace=/^(fsync|rename.*)$', *command)
    if 'ptrace' in traced.stderr:
        pytest.skip('this user may not trace')
    assert traced.returncode == 0, traced.stderr

    calls = re.findall(rf'(fsync|rename)\w*\(.*{re.escape(str(tmp_path))}(\S*)', (tmp_path / 'log').read_text())

    assert [name for name, _ in calls] == ['fsync', 'rename', 'fsync']
    assert '.tmp>' in calls[0][1]
    assert calls[2][1].startswith('>')
