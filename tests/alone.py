"""Code in a process of its own that has the libraries, but none of the package's modules, and leaves nothing behind.

It is forked from one that imports the libraries once: they take most of the time of a new interpreter.
"""

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

# Answers each line, which holds code and the files for what it prints, by its exit status.
FORKING = """
import json, os, sys
import mmengine.model

for line in sys.stdin:
    code, *files = json.loads(line)
    process = os.fork()
    if not process:
        for stream, path in enumerate(files, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
        exec(code, {'__name__': '__main__'})
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


def run(code: str) -> subprocess.CompletedProcess:
    """Does what `python -W ignore -c code` would do."""
    forking = _forking()
    assert forking.stdin is not None
    assert forking.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        out, err = (Path(folder) / name for name in ('out', 'err'))
        print(json.dumps([code, str(out), str(err)]), file=forking.stdin, flush=True)
        status = int(forking.stdout.readline())
        return subprocess.CompletedProcess(code, status, out.read_text(), err.read_text())


@cache
def _forking() -> subprocess.Popen:
    command = [sys.executable, '-W', 'ignore', '-c', FORKING]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
