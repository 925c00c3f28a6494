"""What `--help` of every tool says, and how little it needs for that."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOLS = sorted(path for folder in ('demo', 'tools') for path in (ROOT / folder).rglob('*.py'))

# Shows the help of each tool; prints what they said and which libraries had been imported by then.
SHOW_ALL = """
import contextlib, io, json, runpy, sys
texts = {}
for path in sys.argv[1:]:
    sys.argv = [path, '--help']
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        runpy.run_path(path, run_name='__main__')
    texts[path] = out.getvalue(), 'torch' in sys.modules
print(json.dumps(texts))
"""


@pytest.fixture(scope='module')
def shown() -> dict[str, tuple[str, bool]]:
    """{tool: (its help, whether torch was imported for it or before)}."""
    command = [sys.executable, '-c', SHOW_ALL, *map(str, TOOLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {str(Path(path).relative_to(ROOT)): tuple(found) for path, found in json.loads(done.stdout).items()}


def test_no_help_imports_torch(shown):
    assert len(shown) >= 13
    assert [path for path, (_, imported) in shown.items() if imported] == []


def test_every_option_that_takes_a_value_tells_its_default(shown):
    untold = []
    for path, (text, _) in shown.items():
        usage, _, rest = text.partition('\n\n')
        entries = re.findall(r'^  (-.*(?:\n {4,}.*)*)', rest, re.MULTILINE)
        assert entries, path
        for entry in entries:
            flag, _, value = re.split(r' {2,}|\n', entry)[0].partition(' ')
            required = f'[{flag.rstrip(",")}' not in usage
            if value and not value.startswith('-') and not required and 'default:' not in entry:
                untold.append((path, flag))
    assert untold == []


@pytest.mark.parametrize(
    'line', ['--max-instances MAX_INSTANCES maximum number of objects, the best by score; default: 8', 'fp32,bf16,fp16']
)
def test_the_demo_tells_defaults_and_choices(shown, line):
    assert line in ' '.join(shown['demo/colorization_demo.py'][0].split())


@pytest.mark.slow
def test_the_help_arrives_where_it_is_not_caught():
    done = subprocess.run(
        [sys.executable, str(ROOT / 'demo' / 'colorization_demo.py'), '--help'], capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, '')
    assert '--native-size' in done.stdout
