"""The rooms of the package and what they may know of each other: docs/architecture.md, read from the source."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path

import alone
import pytest
from mmengine.config import Config

import insta_colorization
from insta_colorization.checkpoints import load_checkpoint
from insta_colorization.utils.configs import DEFAULT_WEIGHTS, find_config

PACKAGE = Path(insta_colorization.__file__).parent
NAME = PACKAGE.name
# Imports point to a room of the same or a lower rank; in one rank only to the own room, but for the first.
RANKS = (
    ('registry', 'colorspace', 'utils', 'weights'),
    ('structures',),
    ('fileio',),
    ('imaging',),
    ('checkpoints',),
    ('models', 'detectors'),
    ('datasets', 'visualization'),
    ('engine', 'evaluation'),
    ('apis',),
    ('studio',),
)
# Names that saved configs and programs know; they only forward.
FORWARDING = ('inferencer', 'metrics', 'hooks', 'loops')
RANK_OF = {room: rank for rank, rooms in enumerate((*RANKS, FORWARDING)) for room in rooms}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


SOURCES = {module_of(path): path for path in sorted(PACKAGE.rglob('*.py')) if '.mim' not in path.parts}


def imported(module: str) -> Iterator[str]:
    """The package's modules that a module names in its imports, wherever in it they stand."""
    path = SOURCES[module]
    parent = module if path.stem == '__init__' else module.rpartition('.')[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in SOURCES)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name('.' * node.level + (node.module or ''), parent)
            if origin in SOURCES:
                parts = [f'{origin}.{alias.name}' for alias in node.names]
                yield from (part if part in SOURCES else origin for part in parts)


GRAPH = {module: set(imported(module)) - {module} for module in SOURCES}


def room_of(module: str) -> str:
    """The first name below the package's; the package itself, which imports nothing, is in no room."""
    return module.split('.')[1] if '.' in module else ''


ARROWS = sorted(
    (module, other) for module, others in GRAPH.items() for other in others if room_of(module) != room_of(other)
)


def test_every_room_has_a_rank():
    assert {room_of(module) for module in SOURCES} - {''} <= RANK_OF.keys()


def test_the_root_holds_at_most_five_modules_beside_those_that_forward():
    own = {path.stem for path in PACKAGE.glob('*.py')} - {'__init__', *FORWARDING}

    assert len(own) <= 5, own


@pytest.mark.parametrize('name', FORWARDING)
def test_old_names_only_forward(name):
    docstring, *statements = ast.parse((PACKAGE / f'{name}.py').read_bytes()).body

    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(statement, ast.ImportFrom | ast.Assign) for statement in statements)


def test_no_import_points_to_a_higher_room():
    up = [f'{a} imports {b}' for a, b in ARROWS if room_of(b) and RANK_OF[room_of(a)] < RANK_OF[room_of(b)]]

    assert not up, '\n'.join(up)


@pytest.mark.parametrize('rooms', RANKS[1:], ids=' and '.join)
def test_rooms_of_one_rank_do_not_know_each_other(rooms):
    between = [f'{a} imports {b}' for a, b in ARROWS if {room_of(a), room_of(b)} <= set(rooms)]

    assert not between, '\n'.join(between)


def test_no_circle_of_modules():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(' -> '.join(error.args[1]))


@pytest.mark.slow
def test_what_imports_leave_alone():
    """Lower rooms wake no model, and photos and detectors change nothing in MMEngine."""
    code = f"""
import sys
import mmcv.transforms, mmengine.registry, mmengine.runner
from mmengine.fileio import backends
from mmengine.runner.checkpoint import CheckpointLoader
import {NAME}.registry

def state():
    roots = {{name: value for name, value in vars(mmengine.registry).items() if isinstance(value, mmengine.Registry)}}
    registered = {{name: dict(root.module_dict) for name, root in roots.items()}}
    return dict(CheckpointLoader._schemes), dict(backends.backends), registered

before = state()
import {NAME}.checkpoints, {NAME}.imaging, {NAME}.fileio, {NAME}.structures
assert not [name for name in sys.modules if name.startswith('{NAME}.models')]
import {NAME}.datasets, {NAME}.detectors
assert state() == before
"""
    done = alone.run(code)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ('module', 'names'),
    [
        ('imaging', ('Photo', 'read_photo', 'write_photo')),
        ('checkpoints', ('load_checkpoint',)),
        ('apis', ('Predictor', 'ColorizationInferencer')),
        ('inferencer', ('ColorizationInferencer',)),
        ('metrics', ('PSNR', 'SSIM', 'LPIPS', 'Colorfulness', 'FID')),
        ('hooks', ('WholeCheckpointHook', 'RecalibratedEMAHook', 'InvalidLossHook', 'BFloat16OptimWrapper')),
        ('loops', ('ResumableIterLoop',)),
    ],
)
def test_public_names_stay(module, names):
    assert all(hasattr(import_module(f'{NAME}.{module}'), name) for name in names)


def test_the_imports_of_saved_configs_work(tmp_path):
    modules = [f'{NAME}.{module}' for module in ('models', 'datasets', 'metrics', 'hooks', 'loops')]
    path = tmp_path / 'saved.py'
    path.write_text(f'custom_imports = dict(imports={modules}, allow_failed_imports=False)\nmodel = dict()\n')

    assert Config.fromfile(path).custom_imports.imports == modules


@pytest.mark.slow
def test_the_config_that_shipped_weights_name_is_there():
    name = load_checkpoint(DEFAULT_WEIGHTS).metadata['config']

    assert Config.fromfile(find_config(name), import_custom_modules=False).model.type
