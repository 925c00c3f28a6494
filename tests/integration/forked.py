"""Runs commands in processes of their own that need not import torch anew, because they are forked from one that has.

On a few small photos a tool's imports take most of its time. What a user's shell does is tested by those tests that
start an interpreter.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from quick_configs import leave_configs_unformatted

TIMEOUT = 300  # seconds
_FORKSERVER = multiprocessing.get_context('forkserver')
_FORKSERVER.set_forkserver_preload(
    [
        'mmengine.runner',
        'torch._dynamo',  # an optimizer's first step imports it
        'insta_colorization.datasets',
        'insta_colorization.evaluation',
        'insta_colorization.models',
    ]
)


def run(script: Path, *arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Does what `python script arguments` would do in a folder; a signal that ends it is a negative exit status."""
    command = [str(script), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        # Files: what a killed process had started would keep pipes open for seconds.
        out, err = (Path(folder) / name for name in ('out', 'err'))
        settings = {**os.environ, **environment}
        process = _FORKSERVER.Process(target=_run, args=(command, str(cwd), settings, str(out), str(err)))
        process.start()
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
            process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(command, process.exitcode, out.read_text(), err.read_text())


def _run(command: list[str], cwd: str, environment: dict[str, str], out: str, err: str) -> None:
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    warnings.simplefilter('ignore')
    leave_configs_unformatted()
    sys.argv = command
    sys.path[:0] = [str(Path(command[0]).parent), *filter(None, environment.get('PYTHONPATH', '').split(os.pathsep))]
    runpy.run_path(command[0], run_name='__main__')
