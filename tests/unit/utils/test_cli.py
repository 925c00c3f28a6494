import argparse
import logging
import os
import signal
import sys
from getpass import getuser
from pathlib import Path

import pytest

from insta_colorization.utils.cli import Command, Parser, UsageError, add_options, chosen, number
from insta_colorization.utils.options import (
    ColourOptions,
    InputOptions,
    MarkOptions,
    NetworkOptions,
    ObjectOptions,
    PaceOptions,
    ResultOptions,
)


def run(work, *argv: str) -> int:
    return Command('A tool.', lambda parser: None, lambda args: work(), 'stopped; go on')(argv)


def failing(error: BaseException):
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(('returned', 'status'), [(0, 0), (1, 1), (None, 0)])
def test_the_commands_own_status(returned, status, capsys):
    assert run(lambda: returned) == status
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


def test_a_user_without_a_name_has_a_home_for_the_time(monkeypatch, capsys):
    def unknown(number: int) -> None:
        raise KeyError(f'getpwuid(): uid not found: {number}')

    monkeypatch.setattr('pwd.getpwuid', unknown)
    for name in ('HOME', 'LOGNAME', 'USER', 'LNAME', 'USERNAME'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, 'argv', ['tool'])
    found = []
    command = Command('A tool.', lambda parser: None, lambda args: found.extend([Path.home(), getuser()]), imports=())
    with monkeypatch.context() as own:
        own.setattr('insta_colorization.utils.cli.Signals._set', lambda signals, handler: None)
        assert command() == 0

    home, name = found
    assert name == str(os.getuid())
    assert home.name.startswith('home-')
    assert not home.exists()
    assert 'HOME' not in os.environ


def test_debug_shows_where(capsys):
    assert run(failing(ValueError('no')), '--debug') == 1
    assert 'Traceback' in capsys.readouterr().err


def test_ctrl_c(capsys):
    assert run(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == 'stopped; go on\n'


def test_the_process_is_prepared_where_it_is_the_tools_own(monkeypatch):
    begun = []
    tool = Command('A tool.', lambda parser: None, lambda args: 0, begin=begun.append)
    monkeypatch.setattr('sys.argv', ['tool'])

    assert tool([]) == 0
    assert begun == []
    assert tool() == 0
    assert begun == [argparse.Namespace(debug=False)]


@pytest.mark.parametrize(
    ('work', 'argv', 'line'),
    [
        (lambda: 0, ['--colour'], 'unrecognized arguments: --colour'),
        (failing(UsageError('--a goes without --b')), [], '--a goes without --b'),
    ],
)
def test_a_wrong_command_line_is_one_line(work, argv, line, capsys):
    with pytest.raises(SystemExit) as stop:
        run(work, *argv)

    assert stop.value.code == 2
    assert capsys.readouterr().err == f'error: {line}; --help lists the options\n'


@pytest.mark.parametrize(
    ('kind', 'text', 'message'),
    [
        (number(int, 1), '0', '--x must be at least 1, but is 0'),
        (number(float, 0, 1), '1.5', '--x must lie in 0..1, but is 1.5'),
        (number(float, 0), 'nan', '--x must be at least 0, but is nan'),
        (number(int, 1), 'many', "argument --x: invalid int value: 'many'"),
    ],
)
def test_numbers_out_of_range(kind, text, message, capsys):
    parser = Parser()
    parser.add_argument('--x', type=kind)

    assert parser.parse_args(['--x', '1']).x == 1
    with pytest.raises(SystemExit):
        parser.parse_args(['--x', text])
    assert capsys.readouterr().err == f'error: {message}; --help lists the options\n'


@pytest.mark.parametrize(
    'group',
    [ColourOptions, InputOptions, MarkOptions, NetworkOptions, ObjectOptions, PaceOptions, ResultOptions],
)
def test_an_empty_command_line_gives_the_defaults_of_the_dataclass(group):
    parser = Parser()
    add_options(parser, group, 'title')

    assert chosen(parser.parse_args([]), group) == group()


def test_options_are_read_by_their_types():
    parser = Parser()
    add_options(parser, ColourOptions)
    add_options(parser, ObjectOptions)
    add_options(parser, ResultOptions, only=('show_fusion', 'suffix'))

    colour = ['--native-size', '--saturation', '2']
    objects = ['--max-instances', '3', '--score-thr', '.5']
    results = ['--format', 'tif', '--show-fusion', '3', 'conv7,up8,']
    args = parser.parse_args([*colour, *objects, *results])

    assert chosen(args, ColourOptions) == ColourOptions(native_size=True, saturation=2.0)
    assert (args.max_instances, args.score_thr, args.suffix) == (3, 0.5, 'tif')
    assert args.show_fusion == ('3', 'conv7', 'up8')
    assert not hasattr(args, 'overwrite')


def test_defaults_are_told_once():
    parser = Parser(prog='x')
    parser.add_argument('--a', default=[1, 2], help='a', nargs='+')
    parser.add_argument('--b', help='b; default: as it comes')
    parser.add_argument('--c', help='100 % of it')
    parser.add_argument('--d', action='store_true', help='d')
    parser.add_argument('--e', required=True, help='e')

    text = ' '.join(parser.format_help().split())

    assert 'a; default: 1 2 ' in text
    assert text.count('default:') == 3
    assert '100 % of it; default: none' in text


@pytest.mark.parametrize('name', ['-dash.jpg', '--help.jpg', '-h.jpg'])
def test_a_file_called_like_an_option(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    parser = Parser()
    parser.add_argument('--img', nargs='+')
    parser.add_argument('--overwrite', action='store_true')

    assert parser.parse_args(['--img', 'a.jpg', name, '--overwrite']).img == ['a.jpg', f'./{name}']


def test_an_option_stays_one_beside_a_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / '--overwrite').touch()
    parser = Parser()
    parser.add_argument('--overwrite', action='store_true')

    assert parser.parse_args(['--overwrite']).overwrite


class TestSignals:
    """In a process of its own, which `argv` None stands for."""

    @pytest.fixture(autouse=True)
    def _own_process(self, monkeypatch):
        monkeypatch.setattr('sys.argv', ['tool'])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        # A test run that was started in the background ignores some of them, and so would the tool.
        for each in handlers:
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
        formatters = [(handler, handler.formatter) for handler in logging.getLogger().handlers]
        yield
        for each, handler in handlers.items():
            signal.signal(each, handler)
        for handler, formatter in formatters:
            handler.setFormatter(formatter)

    def tool(self, work, **settings) -> Command:
        return Command('A tool.', lambda parser: None, lambda args: work(), 'stopped; go on', **settings)

    @pytest.mark.parametrize(
        ('number', 'status', 'line'),
        [
            (signal.SIGINT, 130, 'stopped; go on\n'),
            (signal.SIGTERM, 143, 'stopped by SIGTERM; go on\n'),
            (signal.SIGHUP, 129, 'stopped by SIGHUP; go on\n'),
        ],
    )
    def test_tidy_up_and_say_so(self, number, status, line, capsys):
        tidied = []

        def work() -> None:
            try:
                os.kill(os.getpid(), number)
            finally:
                tidied.append(True)

        assert self.tool(work)() == status
        assert tidied
        assert capsys.readouterr().err == line

    def test_that_a_library_turns_into_an_error(self, capsys):
        def work() -> None:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException:
                raise SyntaxError('Failed to format the config file') from None

        assert self.tool(work)() == 130
        assert capsys.readouterr().err == 'stopped; go on\n'

    def test_wait_until_the_imports_are_done(self, tmp_path, monkeypatch, capsys):
        module = 'import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nwhole = True\n'
        (tmp_path / 'interrupted_import.py').write_text(module)
        monkeypatch.syspath_prepend(str(tmp_path))
        ran = []

        assert self.tool(lambda: ran.append(1), imports=('interrupted_import',))() == 143
        assert sys.modules.pop('interrupted_import').whole
        assert ran == []

    def test_that_are_ignored_stay_ignored(self):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup

        assert self.tool(lambda: os.kill(os.getpid(), signal.SIGHUP))() == 0

    def test_afterwards_end_the_process_without_a_traceback(self):
        assert self.tool(lambda: 0)() == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL

    def test_names_that_are_no_text_can_be_printed(self, capfd):
        with open(os.dup(1), 'w', encoding='ascii', errors='strict') as stdout:
            original, sys.stdout = sys.stdout, stdout
            try:
                assert self.tool(lambda: print('Straße M\udcfcnchen.jpg'))() == 0
            finally:
                sys.stdout = original
        assert capfd.readouterr().out == 'Stra\\xdfe M\\udcfcnchen.jpg\n'

    @pytest.mark.parametrize('stream', ['stdout', 'stderr'])
    def test_that_nobody_reads_what_is_printed_stops_nothing(self, monkeypatch, stream):
        reader, writer = os.pipe()
        os.close(reader)
        done = []

        with open(writer, 'w') as unread:
            monkeypatch.setattr(sys, stream, unread)
            work = self.tool(lambda: done.append(print('x' * 10**6, file=getattr(sys, stream), flush=True)))
            assert work() == 0
            monkeypatch.undo()

        assert done

    def test_a_full_disk_below_stdout_is_one_line(self, monkeypatch, capfd):
        with open('/dev/full', 'w') as full:
            monkeypatch.setattr(sys, 'stdout', full)
            assert self.tool(lambda: print('x'))() == 1
            monkeypatch.undo()

        assert capfd.readouterr().err == 'error: [Errno 28] No space left on device\n'
