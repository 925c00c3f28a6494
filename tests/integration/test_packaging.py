"""What is in the wheel, that it imports without the checkout, and that `mim` finds the recipes in it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from mmengine.fileio import load

LEFT_OUT = ('.*', 'build', 'dist', 'results', 'work_dirs', 'data', '*.egg-info', '__pycache__')


def pip(*args: str | Path) -> None:
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '-q', *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def files_below(folder: Path) -> set[str]:
    paths = {path.relative_to(folder) for path in folder.rglob('*') if path.is_file()}
    return {path.as_posix() for path in paths if '__pycache__' not in path.parts and '.mim' not in path.parts}


@pytest.fixture(scope='module')
def wheel(root, tmp_path_factory) -> Path:
    """Built from a copy, so that nothing an earlier build left in the checkout can be in it."""
    folder = tmp_path_factory.mktemp('wheel')
    shutil.copytree(root, folder / 'source', ignore=shutil.ignore_patterns(*LEFT_OUT))
    pip('wheel', '--no-deps', '--no-build-isolation', '--no-index', '-w', folder, folder / 'source')
    (built,) = folder.glob('*.whl')
    return built


@pytest.fixture(scope='module')
def forked(tmp_path_factory) -> Path:
    """An environment with a fork of MMEngine and mmcv-lite, without ours, and with links to whatever else there is."""
    folder = tmp_path_factory.mktemp('forked')
    venv.create(folder, symlinks=True)
    for path in Path(sysconfig.get_path('purelib')).iterdir():
        if not path.name.lower().startswith(('mm', 'insta', '__editable__')):
            (site_of(folder) / path.name).symlink_to(path)
    pip('--python', folder / 'bin/python', 'install', '--no-deps', 'onedl-mmengine==0.10.12', 'mmcv-lite==2.1.0')
    return folder


def site_of(environment: Path) -> Path:
    (site,) = environment.glob('lib/python*/site-packages')
    return site


def installed(environment: Path) -> set[tuple[str, str]]:
    found = distributions(path=[str(site_of(environment))])
    return {(each.metadata['Name'], each.version) for each in found}


@pytest.mark.slow
def test_wheel_holds_the_package_with_its_weights_and_the_recipes(root, wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {f'insta_colorization/{name}' for name in files_below(root / 'projects' / 'insta_colorization')}
    recipes = {f'insta_colorization/.mim/configs/{name}' for name in files_below(root / 'configs')}

    assert package <= names
    assert recipes <= names
    assert 'insta_colorization/.mim/configs/insta/metafile.yml' in names
    assert 'insta_colorization/.mim/model-index.yml' in names
    assert 'insta_colorization/.mim/demo/colorization_demo.py' in names
    assert any(name.startswith('insta_colorization/weights/') and name.endswith('.safetensors') for name in names)


@pytest.mark.slow
def test_wheel_holds_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.split('/')[0].split('-')[0] for name in names} == {'insta_colorization'}
    assert not [name for name in names if 'tests/' in name or '__pycache__' in name]


@pytest.mark.slow
def test_wheel_imports_without_the_checkout(wheel, tmp_path):
    pip('install', '--no-deps', '--no-index', '--target', tmp_path, wheel)
    code = (
        'from importlib.metadata import requires; import insta_colorization.models; '
        "print(insta_colorization.__file__); print(*requires('insta_colorization')); "
        'from insta_colorization.utils.configs import load_config; print(load_config("mine.py").train_cfg.max_iters)'
    )
    base = "_base_ = 'insta_colorization::insta/insta_full_cocostuff_256x256.py'"
    (tmp_path / 'mine.py').write_text(f'{base}\ntrain_cfg = dict(max_iters=7)\n')
    env = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path, env=env)

    assert done.returncode == 0, done.stderr
    place, requirements, iterations = done.stdout.strip().splitlines()
    assert iterations == '7'
    assert Path(place).parent == tmp_path / 'insta_colorization'
    assert 'mmdet' in requirements
    assert 'extra == "detectors"' in requirements


@pytest.mark.slow
def test_wheel_leaves_forks_alone_and_colours_with_them(wheel, forked, tmp_path):
    before = installed(forked)

    pip('--python', forked / 'bin/python', 'install', '--no-index', wheel)
    demo = site_of(forked) / 'insta_colorization/.mim/demo/colorization_demo.py'
    command = [forked / 'bin/python', demo, '--input-size', '64', '--out-dir', tmp_path / 'out']
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, env=env, timeout=600)

    assert {name for name, _ in installed(forked) - before} == {'insta_colorization'}
    assert {('onedl-mmengine', '0.10.12'), ('mmcv-lite', '2.1.0')} <= before <= installed(forked)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'out' / 'astronaut.png').is_file()


def test_metafile_names_only_files_that_exist(root):
    metafiles = [root / path for path in load(root / 'model-index.yml')['Import']]
    content = [load(path) for path in metafiles]
    models = [model for metafile in content for model in metafile['Models']]
    collections = {collection['Name'] for metafile in content for collection in metafile['Collections']}

    assert models
    for model in models:
        assert (root / model['Config']).is_file(), model['Config']
        assert (root / model['Weights']).is_file(), model['Weights']
        assert model['In Collection'] in collections


def test_container_copies_what_is_there_and_what_its_context_lets_through(root):
    lines = (root / 'docker' / 'Dockerfile').read_text().splitlines()
    copied = {name for line in lines if line.startswith('COPY ') for name in line.split()[1:-1]}
    let_through = {line[1:] for line in (root / '.dockerignore').read_text().splitlines() if line.startswith('!')}
    script = next(line for line in lines if line.startswith('ENTRYPOINT')).split('"')[3]

    assert copied == let_through
    assert not [name for name in copied if not (root / name).exists()]
    assert (root / Path(script).relative_to('/insta_colorization')).is_file()


def test_container_of_the_studio_builds_on_the_other_and_has_an_ordinary_user(root):
    lines = (root / 'docker' / 'Dockerfile.studio').read_text().splitlines()
    script = next(line for line in lines if line.startswith('ENTRYPOINT')).split('"')[3]

    assert 'FROM insta_colorization' in lines
    assert any(line.startswith('USER ') and line != 'USER root' for line in lines)
    assert (root / Path(script).relative_to('/insta_colorization')).is_file()
    assert all((root / name).exists() for line in lines if line.startswith('COPY ') for name in line.split()[1:-1])
