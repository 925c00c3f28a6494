"""Runs commands in processes of their own that need not import torch anew, because they are forked from one that has.

On a few small photos a tool's imports take most of its time. What a user's shell does is tested by those tests that
start an interpreter.
"""

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from multiprocessing import connection
from pathlib import Path

from quick_configs import leave_configs_unformatted

TIMEOUT = 300  # seconds
PATIENCE = 10  # seconds for the others after one has failed
_FORKSERVER = multiprocessing.get_context('forkserver')
_FORKSERVER.set_forkserver_preload(
    [
        'mmengine.runner',
        # What runs import on their way: an optimizer's first step, the visualizer, TensorBoard, the log of versions.
        *('torch._dynamo', 'matplotlib.figure', 'matplotlib.backends.backend_agg'),
        *('torch.utils.tensorboard', 'torchvision'),
        'insta_colorization.datasets',
        'insta_colorization.evaluation',
        'insta_colorization.models',
    ]
)


def run(
    script: Path, *arguments: object, cwd: Path, processes: int = 1, **environment: str
) -> subprocess.CompletedProcess:
    """Does what `python script arguments` would do in a folder; a signal that ends it is a negative exit status.

    Several processes know of each other as those of `torchrun` do. Their output is joined; the first one that fails
    ends the others, if they do not end by themselves.
    """
    command = [str(script), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        # Files: what a killed process had started would keep pipes open for seconds.
        out, err = (Path(folder) / name for name in ('out', 'err'))
        settings = {**os.environ, **environment}
        ranks = _ranks(processes) if processes > 1 else [{}]
        started = [
            _FORKSERVER.Process(target=_run, args=(command, str(cwd), {**settings, **rank}, str(out), str(err)))
            for rank in ranks
        ]
        for process in started:
            process.start()
        status = _wait(started)
        return subprocess.CompletedProcess(command, status, out.read_text(), err.read_text())


def _ranks(count: int) -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    common = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'WORLD_SIZE': str(count), 'LOCAL_WORLD_SIZE': str(count)}
    return [{**common, 'RANK': str(rank), 'LOCAL_RANK': str(rank)} for rank in range(count)]


def _wait(started: list) -> int:
    """The exit status of the first process that fails, or 0."""
    deadline = time.monotonic() + TIMEOUT
    running, status = {process.sentinel: process for process in started}, 0
    while running and (ended := connection.wait(list(running), deadline - time.monotonic())):
        for process in map(running.pop, ended):
            process.join()
            if process.exitcode and not status:
                status = process.exitcode
                deadline = min(deadline, time.monotonic() + PATIENCE)
    for process in running.values():
        process.kill()
        process.join()
        status = status or process.exitcode
    return status


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
