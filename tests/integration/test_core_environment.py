"""The core stays light, and it runs with numpy 2 and mmcv-lite, without mmdet and without mmcv's compiled ops."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

MODULES = ('checkpoints', 'colorspace', 'datasets', 'detectors', 'inferencer', 'metrics', 'models')
HEAVY = ('mmagic.models', 'mmdet', 'diffusers', 'transformers')

FORWARD = """
import json, torch
from insta_colorization.registry import MODELS
from insta_colorization.structures import Instances

small = {'type': 'ColorizationBackbone', 'width': 1 / 16}
fusion = {'type': 'FusionNetwork', 'width': 1 / 16}
torch.manual_seed(0)
model = MODELS.build({'type': 'InstColorizer', 'image_net': small, 'instance_net': small, 'fusion_net': fusion}).eval()
instances = Instances([[0, 0, 16, 16], [4, 8, 31, 30]], (32, 32))
with torch.no_grad():
    lightness, crops = torch.rand(1, 1, 32, 32) - 0.5, torch.rand(2, 1, 32, 32) - 0.5
    ab = model(lightness=lightness, crop_lightness=crops, instances=instances)
print(json.dumps(ab.tolist()))
"""


def run_python(python: Path | str, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    env = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    command = [str(python), '-W', 'ignore', *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, cwd=cwd)


def output_of(python: Path | str, code: str, cwd: Path | None = None) -> str:
    done = run_python(python, '-c', code, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope='module')
def core_python(root) -> Path:
    python = root / '.venv' / 'core' / 'bin' / 'python'
    if not python.exists():
        pytest.skip('there is no .venv/core; `make core-env` builds it')
    return python


@pytest.mark.slow
def test_core_environment_has_numpy_2_and_nothing_optional(core_python):
    code = (
        'import json, numpy; from importlib.util import find_spec; '
        "names = ('mmdet', 'mmcv._ext', 'diffusers', 'transformers', 'torchvision', 'lpips', 'skimage'); "
        'print(json.dumps([numpy.__version__, [name for name in names if find_spec(name)]]))'
    )
    version, present = json.loads(output_of(core_python, code))

    assert int(version.split('.')[0]) >= 2
    assert present == []


NEEDED = """
import numpy as np
from insta_colorization.registry import MODELS

try:
    MODELS.build({'type': 'MMDetDetector'}).detect([np.zeros((8, 8, 3), 'uint8')])
except ImportError as error:
    print(error)
"""
# Runs each piece of code by itself, in a process that has imported the libraries, but none of the package's modules.
ALONE = """
import json, os, sys
import mmengine.model, torch

found = {}
for name, code in json.loads(sys.argv[1]).items():
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        os.dup2(writer, 1)
        exec(code, {})
        sys.stdout.flush()
        os._exit(0)
    os.close(writer)
    with open(reader) as printed:
        found[name] = printed.read()
    if os.waitpid(process, 0)[1]:
        del found[name]
print(json.dumps(found))
"""


@pytest.fixture(scope='module')
def printed(core_python) -> dict[str, str]:
    """What each piece of code printed in the core environment, if it ended well."""
    imports = {module: f'import insta_colorization.{module}' for module in MODULES}
    done = run_python(core_python, '-c', ALONE, json.dumps({'forward': FORWARD, 'needed': NEEDED, **imports}))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_forward_pass_in_the_core_environment_equals_that_of_the_full_one(printed, capsys):
    core = np.array(json.loads(printed['forward']))
    with torch.random.fork_rng():
        exec(FORWARD, {})
    full = np.array(json.loads(capsys.readouterr().out))

    assert core.shape == (1, 2, 32, 32)
    assert np.abs(core).max() > 0
    np.testing.assert_allclose(core, full, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('module', MODULES)
def test_modules_import_in_the_core_environment(printed, module):
    assert module in printed


@pytest.mark.slow
def test_demo_starts_in_the_core_environment(core_python, root):
    done = run_python(core_python, str(root / 'demo' / 'colorization_demo.py'), '--help')

    assert done.returncode == 0, done.stderr
    assert '--native-size' in done.stdout


@pytest.mark.slow
def test_a_missing_optional_library_is_named_with_its_install_command(printed):
    assert 'mmdet' in printed['needed']
    assert 'install' in printed['needed']


# Prints, as one line, which modules there are after the package, then its registry, MMEngine's optimizers, all of ours.
IMPORTS = """
import importlib, json, sys

found = {{}}
for name in {names}:
    importlib.import_module(name)
    found[name] = sorted(sys.modules)
print(json.dumps(found))
"""
PACKAGE = 'insta_colorization'
REGISTRY, OPTIMIZERS = f'{PACKAGE}.registry', 'mmengine.optim'


@pytest.fixture(scope='module')
def importing() -> subprocess.CompletedProcess:
    names = (PACKAGE, REGISTRY, OPTIMIZERS, *(f'{PACKAGE}.{module}' for module in MODULES))
    return run_python(sys.executable, '-c', IMPORTS.format(names=names))


@pytest.fixture(scope='module')
def modules_after(importing) -> dict[str, set[str]]:
    """Which modules there are once the named one, and those before it, are imported."""
    assert importing.returncode == 0, importing.stderr
    return {name: set(modules) for name, modules in json.loads(importing.stdout.splitlines()[-1]).items()}


@pytest.mark.slow
@pytest.mark.parametrize('module', [PACKAGE, REGISTRY])
def test_package_and_registry_import_nothing_heavy(modules_after, module):
    assert modules_after[module].isdisjoint(HEAVY)


@pytest.mark.slow
def test_modules_import_nothing_heavy(modules_after):
    # mmengine.optim looks for an optimizer in transformers, where that is installed, and mmengine.model needs it.
    before, after = (modules_after[name] & set(HEAVY) for name in (OPTIMIZERS, f'{PACKAGE}.{MODULES[-1]}'))
    assert after == before <= {'transformers'}


@pytest.mark.slow
def test_importing_prints_nothing(importing):
    assert (importing.returncode, importing.stdout.count('\n'), importing.stderr) == (0, 1, '')


@pytest.mark.slow
def test_the_package_alone_imports_no_library(modules_after):
    assert modules_after[PACKAGE].isdisjoint({'torch', 'numpy', 'cv2', 'mmengine', 'mmagic'})


NOT_TO_COLOUR = (
    'mmengine.runner',
    'mmengine.infer',
    'mmengine.hooks',
    'torch._dynamo',
    'mmdet',
    'mmagic.models',
    'pandas',
    'matplotlib',
)


@pytest.mark.slow
def test_colouring_a_photo_imports_no_runner_and_nothing_that_it_does_not_need(root, tmp_path):
    code = (
        'import json, sys; sys.path.insert(0, "demo"); import colorization_demo; '
        f'assert colorization_demo.main(["--out-dir", {str(tmp_path)!r}]) == 0; print(json.dumps(sorted(sys.modules)))'
    )
    imported = set(json.loads(output_of(sys.executable, code, cwd=root)))

    assert imported.isdisjoint(NOT_TO_COLOUR)
    # `mmengine.model` imports it: the models are MMEngine's, see docs/get_started.md.
    assert 'mmengine.model' in imported
