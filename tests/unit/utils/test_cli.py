import pytest

from insta_colorization.utils.cli import Parser, run_command


def run(command, debug=False):
    return run_command(command, debug=debug, when_stopped='stopped; go on')


def failing(error: BaseException):
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize('status', [0, 1])
def test_the_commands_own_status(status, capsys):
    assert run(lambda: status) == status
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        pytest.param(ValueError('the size is 3,\n  not 4'), 'error: the size is 3, not 4\n', id='value'),
        pytest.param(FileNotFoundError('a.py is missing'), 'error: a.py is missing\n', id='file'),
        pytest.param(ImportError('pip install x'), 'error: pip install x\n', id='import'),
        pytest.param(FloatingPointError('the loss is nan'), 'error: the loss is nan\n', id='loss'),
        pytest.param(KeyError('b'), "error: unexpected KeyError: 'b'; --debug shows where\n", id='a mistake of ours'),
    ],
)
def test_an_error_is_one_line(error, line, capsys):
    assert run(failing(error)) == 1
    assert capsys.readouterr().err == line


def test_debug_shows_where(capsys):
    assert run(failing(ValueError('no')), debug=True) == 1
    assert 'Traceback' in capsys.readouterr().err


def test_ctrl_c(capsys):
    assert run(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == 'stopped; go on\n'


def test_a_wrong_option_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        Parser(prog='x').parse_args(['--colour'])

    assert stop.value.code == 2
    assert capsys.readouterr().err == 'error: unrecognized arguments: --colour; --help lists the options\n'
