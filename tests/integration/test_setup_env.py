"""What tools/setup_env.sh does and says, with a Python that only notes what pip was asked for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

COMMANDS = ('bash', 'dirname', 'sha256sum', 'cat', 'cp', 'mkdir', 'nproc', 'rm')
# The environment's pip notes its arguments in `pip.log` and fails where they hold the word in `fails_at`; mmcv has ops
# once pip was asked for mmcv itself.
PYTHON = r"""
case "$*" in
  *'-m venv'*) mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
  *'-m pip --version'*) ;;
  *'-m pip'*)
    echo "$*" >>pip.log
    [ ! -e fails_at ] || [[ "$*" != *"$(cat fails_at)"* ]]
    ;;
  *'import mmcv.ops'*) [[ "$(cat pip.log 2>/dev/null)" == *requirements/mim.txt* ]] ;;
  *sysconfig*) echo headers ;;
  *version_info*) echo 3.12 ;;
esac
"""


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


@pytest.fixture
def complete_machine(machine):
    """One with Python 3.12, its headers and a compiler."""
    checkout, bin_folder = machine
    add_command(bin_folder, 'python3.12', PYTHON)
    for compiler in ('gcc', 'g++'):
        add_command(bin_folder, compiler, 'exit 0')
    (checkout / 'headers').mkdir()
    (checkout / 'headers' / 'Python.h').touch()
    return checkout, bin_folder


def asked_of_pip(checkout: Path) -> str:
    log = checkout / 'pip.log'
    return log.read_text() if log.exists() else ''


def set_up(checkout: Path, bin_folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ['tools/setup_env.sh', *words],
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
    add_command(bin_folder, 'python3', 'echo 3.13; exit 1')
    add_command(bin_folder, 'python', 'echo 2.7; exit 1')

    done = set_up(checkout, bin_folder)

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        'Python 3.11 or 3.12 is needed; found among python3.11, python3.12, python3 and python: '
        'python3 is 3.13, python is 2.7.'
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


def test_help_explains_and_changes_nothing(complete_machine):
    checkout, _ = complete_machine

    done = set_up(*complete_machine, '--help')

    assert (done.returncode, done.stderr) == (0, '')
    assert 'light' in done.stdout
    assert not (checkout / '.venv').exists()


@pytest.mark.parametrize(
    ('words', 'complaint'),
    [
        (['tests'], "The environment must be light, full or core, but got 'tests'."),
        (['light', 'full'], 'tools/setup_env.sh takes one word, but got 2: light full'),
    ],
)
def test_unknown_words_change_nothing(complete_machine, words, complaint):
    checkout, _ = complete_machine

    done = set_up(*complete_machine, *words)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == complaint
    assert not (checkout / '.venv').exists()


def test_a_photo_can_be_coloured_without_a_compiler(machine):
    checkout, bin_folder = machine
    add_command(bin_folder, 'python3.12', PYTHON)

    done = set_up(checkout, bin_folder, 'light')

    assert (done.returncode, done.stderr) == (0, '')
    asked = asked_of_pip(checkout)
    assert 'requirements/lite.txt' in asked
    assert not [word for word in ('mim.txt', 'mmdet', 'detectors.txt', 'build.txt') if word in asked]


@pytest.mark.parametrize('order', [('light', 'full'), ('full', 'light')])
def test_both_environments_in_either_order(complete_machine, order):
    checkout, _ = complete_machine

    for level in order:
        assert set_up(*complete_machine, level).returncode == 0
    before = asked_of_pip(checkout)
    again = [set_up(*complete_machine, level).stdout for level in ('light', 'full')]

    assert again == ['', '']
    assert asked_of_pip(checkout) == before
    assert before.count('requirements/mim.txt') == 1
    if order == ('light', 'full'):
        # Its modules lie in the folder of those of the compiled one.
        assert before.index('uninstall') < before.index('requirements/mim.txt')
    else:
        assert 'requirements/lite.txt' not in before


@pytest.mark.parametrize('step', ['build.txt', 'detectors.txt', 'requirements/mim.txt', '-e .'])
@pytest.mark.parametrize('then', ['light', 'full'])
def test_a_setup_that_was_cut_off_goes_on(complete_machine, step, then):
    checkout, _ = complete_machine
    set_up(*complete_machine, 'light')
    (checkout / 'fails_at').write_text(step)
    cut_off = set_up(*complete_machine, 'full')
    (checkout / 'fails_at').unlink()

    done = set_up(*complete_machine, then)

    assert cut_off.returncode != 0
    assert (done.returncode, done.stderr) == (0, '')
    assert 'is ready' in done.stdout


def test_a_folder_with_spaces(complete_machine, tmp_path):
    checkout, bin_folder = complete_machine
    spaced = checkout.rename(tmp_path / 'my checkout')

    assert set_up(spaced, bin_folder, 'full').returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason='root writes everywhere')
def test_a_checkout_that_cannot_be_written(complete_machine):
    checkout, bin_folder = complete_machine
    checkout.chmod(0o555)

    done = set_up(checkout, bin_folder, 'light')

    assert done.stderr.splitlines() == [f'{checkout}/.venv cannot be written, so it cannot hold the environment.']


def test_a_place_that_cannot_hold_the_environment(complete_machine):
    checkout, bin_folder = complete_machine
    (checkout / '.venv').touch()

    done = set_up(checkout, bin_folder, 'light')

    assert done.returncode == 1
    assert done.stderr.splitlines() == [f'{checkout}/.venv cannot be written, so it cannot hold the environment.']


@pytest.mark.parametrize('version', ['3.10', '3.13'])
def test_an_environment_of_another_python_is_not_used(complete_machine, version):
    checkout, bin_folder = complete_machine
    set_up(checkout, bin_folder, 'light')
    other = f'case "$*" in *version_info*) echo {version}; exit 1 ;; esac'
    add_command(checkout / '.venv' / 'bin', 'python', other)
    (checkout / '.venv' / '.light').unlink()

    done = set_up(checkout, bin_folder, 'light')

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        '.venv holds another Python than 3.11 or 3.12; remove the folder and run the command again.'
    ]
