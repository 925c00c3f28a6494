"""What tools/setup_env.sh says on a machine that lacks what it needs, before it downloads anything."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

COMMANDS = ('bash', 'dirname', 'sha256sum', 'cat', 'mkdir')


@pytest.fixture
def machine(root, tmp_path):
    """A checkout on a machine that has only the commands of `COMMANDS` and those that a test adds."""
    checkout, bin_folder = tmp_path / 'checkout', tmp_path / 'bin'
    shutil.copytree(root / 'requirements', checkout / 'requirements')
    (checkout / 'tools').mkdir()
    for name in ('setup.cfg', 'setup.py', 'tools/setup_env.sh'):
        shutil.copy(root / name, checkout / name)
    bin_folder.mkdir()
    for command in COMMANDS:
        (bin_folder / command).symlink_to(shutil.which(command))
    return checkout, bin_folder


def add_command(bin_folder: Path, name: str, script: str) -> None:
    command = bin_folder / name
    command.write_text(f'#!{shutil.which("bash")}\n{script}\n')
    command.chmod(0o755)


def set_up(checkout: Path, bin_folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        ['tools/setup_env.sh'],
        cwd=checkout,
        env={**os.environ, 'PATH': str(bin_folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_any_python(machine):
    done = set_up(*machine)

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        'Python 3.11 or 3.12 is needed; found among python3.11, python3.12, python3 and python: none.'
    ]


def test_other_pythons_are_named_and_a_shim_that_fails_is_passed_over(machine):
    checkout, bin_folder = machine
    add_command(bin_folder, 'python3.11', 'echo "no such version" >&2; exit 127')
    add_command(bin_folder, 'python3', 'echo 3.9; exit 1')
    add_command(bin_folder, 'python', 'echo 2.7; exit 1')

    done = set_up(checkout, bin_folder)

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        'Python 3.11 or 3.12 is needed; found among python3.11, python3.12, python3 and python: '
        'python3 is 3.9, python is 2.7.'
    ]


def test_without_a_compiler(machine):
    checkout, bin_folder = machine
    add_command(bin_folder, 'python3.12', 'echo 3.12')

    done = set_up(checkout, bin_folder)

    assert done.returncode == 1
    assert done.stderr.splitlines() == ['gcc and g++ are needed to compile mmcv, but they are not on the PATH.']


def test_without_the_headers_of_python(machine):
    checkout, bin_folder = machine
    add_command(bin_folder, 'python3.12', 'case "$2" in *sysconfig*) echo /nowhere ;; *) echo 3.12 ;; esac')
    for compiler in ('gcc', 'g++'):
        add_command(bin_folder, compiler, 'exit 0')

    done = set_up(checkout, bin_folder)

    assert done.returncode == 1
    assert '/nowhere/Python.h does not exist' in done.stderr
