"""The pages and the API build without a warning: every link and reference has its target, every docstring parses."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip('sphinx', reason='pip install -r requirements/docs.txt')
pytest.importorskip('myst_parser', reason='pip install -r requirements/docs.txt')


def test_docs_build(root, tmp_path):
    # Without pages of HTML, which takes a third less; references are looked up all the same.
    command = [sys.executable, '-m', 'sphinx', '-b', 'dummy', '-qEW', '--keep-going', '-c', 'docs', '.', tmp_path]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
