"""What the command-line tools share: they tell their options and defaults, and in one sentence what is wrong."""

import argparse
import dataclasses
import getpass
import importlib
import io
import logging
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType, TracebackType, UnionType
from typing import Any, Literal, NoReturn, Self, TypeVar, get_args, get_origin, get_type_hints

from .errors import EXPECTED, printable, sentence

T = TypeVar('T')


class UsageError(Exception):
    """The command line's options do not fit each other."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Tells the default of every option that takes a value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ''
        if not action.option_strings or action.nargs == 0 or action.required or 'default: ' in text:
            return text
        default = action.default
        shown = ' '.join(map(str, default or ('none',))) if isinstance(default, list | tuple) else default
        return f'{text}; default: {"none" if shown is None else shown}'.replace('%', '%%').removeprefix('; ')


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage; a file may be called like an option that there is not."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{'formatter_class': HelpFormatter, 'allow_abbrev': False, **settings})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Reads arguments; `-x.jpg`, of a shell's `*.jpg`, is the file of this name where there is one."""
        words = sys.argv[1:] if args is None else args
        return super().parse_known_args([self._as_path(word) for word in words], namespace)

    def _as_path(self, word: str) -> str:
        is_file = word.startswith('-') and word not in self._option_string_actions and os.path.lexists(word)
        return f'./{word}' if is_file else word

    def error(self, message: str) -> NoReturn:
        """Prints the sentence and exits with status 2."""
        message = re.sub(r'^argument (\S+): must', r'\1 must', message)
        self.exit(2, f'error: {message}; --help lists the options\n')


def number(kind: type[int] | type[float], least: float, most: float | None = None) -> Callable[[str], float]:
    """A type for `add_argument`: a number that is not below `least`, nor above `most`."""

    def convert(text: str) -> float:
        value = kind(text)
        if value >= least and (most is None or value <= most):
            return value
        allowed = f'be at least {least:g}' if most is None else f'lie in {least:g}..{most:g}'
        raise argparse.ArgumentTypeError(f'must {allowed}, but is {value}')

    convert.__name__ = kind.__name__  # argparse names it where the text is no number at all
    return convert


def add_options(
    parser: argparse.ArgumentParser, group: type, title: str | None = None, only: Collection[str] = ()
) -> None:
    """Gives a command line the options of a dataclass of `utils.options`.

    Args:
        parser: the command line.
        group: the dataclass.
        title: of a group in the help; None puts the options among the others.
        only: names of fields; by default all.
    """
    target = parser if title is None else parser.add_argument_group(title)
    hints = get_type_hints(group)
    for field in dataclasses.fields(group):
        if only and field.name not in only:
            continue
        kind, about = hints[field.name], field.metadata
        settings: dict[str, Any] = {'dest': field.name, 'default': field.default, 'help': about['help']}
        if optional := isinstance(kind, UnionType):  # X | None
            kind = get_args(kind)[0]
        if kind is bool:
            settings['action'] = argparse.BooleanOptionalAction if optional else 'store_true'
        elif get_origin(kind) is Literal:
            settings['choices'] = get_args(kind)
        else:
            settings |= {'metavar': about['metavar'], 'type': kind if kind in (int, float) else str}
            if get_origin(kind) is tuple:
                settings |= {'nargs': '+', 'action': _Words}
        target.add_argument(about['flag'] or f'--{field.name.replace("_", "-")}', **settings)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Gives a tool that writes boxes the options that say which ones."""
    text = "minimum score; default: the detector's own"
    parser.add_argument('--score-thr', type=number(float, 0, 1), help=text)
    parser.add_argument(
        '--min-size', type=number(float, 0), default=0.0, help='shortest side that is written, in pixels'
    )
    parser.add_argument(
        '--top-k', type=number(int, 1), help='maximum number per photo, the best by score; default: all'
    )
    parser.add_argument('--masks', action='store_true', help='write masks too, if the detector gives any')


def add_manifest(parser: argparse.ArgumentParser, folder: str) -> None:
    """Gives a tool of archives the option that names the photos of a folder, which is called like its argument."""
    text = f'.txt, .jsonl or .csv that names the photos; default: all below {folder}'
    parser.add_argument('--manifest', metavar='FILE', help=text)


def absolute(text: str) -> str:
    """A path for workers, which have a working folder of their own; what is no path stays as it is."""
    return str(Path(text).resolve()) if Path(text).exists() else text


def absolute_detector(text: str) -> str:
    """The same of a detector's files, FILE.onnx or CONFIG.py:CHECKPOINT.pth; folders may be called like detectors."""
    return ':'.join(absolute(part) if Path(part).suffix else part for part in text.split(':'))


class _Words(argparse.Action):
    """Takes words one by one, joined by commas, or both."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, tuple(word for text in values for word in text.split(',') if word))


def chosen(args: argparse.Namespace, group: type[T]) -> T:
    """What the command line says about the options of a dataclass, all of which it has got by `add_options`."""
    return group(**{name: getattr(args, name) for name in get_type_hints(group)})


@dataclasses.dataclass(frozen=True)
class Command:
    """A tool's `main`: reads the arguments, runs, and turns what is raised into one line on stderr.

    Attributes:
        description: the tool's docstring.
        arguments: adds the tool's arguments to a parser.
        run: does the work; returns the exit status, or nothing for 0.
        when_stopped: what to say after Ctrl-C.
        begin: called before the work where the tool has its process to itself, not where a program calls it.
        imports: modules that take seconds and are imported then, so that no signal leaves a half of them.
    """

    description: str | None
    arguments: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int | None]
    when_stopped: str = 'stopped'
    begin: Callable[[argparse.Namespace], object] = lambda args: None
    imports: Sequence[str] = ('torch',)

    def parser(self) -> Parser:
        """A parser of the tool's arguments."""
        parser = Parser(description=self.description)
        self.arguments(parser)
        parser.add_argument('--debug', action='store_true', help='show where an error came from')
        return parser

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Reads arguments; None stands for the process's own."""
        return self.parser().parse_args(argv)

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Runs the tool.

        In a process of its own SIGTERM and SIGHUP end it like Ctrl-C: what it was writing is tidied up, and it says so.

        Returns:
            The exit status: the tool's own, 1 after an error, 128 and the signal's number (130, 143) when stopped.

        Raises:
            SystemExit: with status 2, if the arguments cannot be used.
        """
        signals = Signals()
        with ExitStack() as process:
            if argv is None:
                process.enter_context(_home())
                process.enter_context(_standard_streams())
                process.enter_context(signals)
            try:
                return self._run(argv, signals)
            except KeyboardInterrupt:
                return self._stopped(signals.received or signal.SIGINT)

    def _run(self, argv: Sequence[str] | None, signals: 'Signals') -> int:
        parser = self.parser()
        args = parser.parse_args(argv)
        os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')
        logging.basicConfig(format='%(message)s')
        logging.getLogger('insta_colorization').setLevel(logging.DEBUG if args.debug else logging.INFO)
        try:
            if argv is None:
                with signals.held():
                    self._begin(args)
            status = self.run(args) or 0
            print(end='', flush=True)  # a disk that is full is met here, not when the process ends
            return status
        except UsageError as error:
            parser.error(str(error))
        except Exception as error:
            if signals.received is not None:  # some libraries turn a signal that meets them into an error of their own
                raise KeyboardInterrupt from error
            if args.debug:
                traceback.print_exc()
                return 1
            hint = '' if isinstance(error, EXPECTED) else '; --debug shows where'
            print(f'error: {sentence(error)}{hint}', file=sys.stderr)
            return 1

    def _begin(self, args: argparse.Namespace) -> None:
        """Prepares the process."""
        for handler in logging.getLogger().handlers:
            handler.setFormatter(_Formatter('%(message)s'))
        warnings.filterwarnings('ignore', module=r'PIL\.')  # what it warns of is decoded, or refused in a sentence
        self.begin(args)
        for name in self.imports:
            importlib.import_module(name)

    def _stopped(self, number: int) -> int:
        by = '' if number == signal.SIGINT else f' by {signal.Signals(number).name}'
        with suppress(OSError):  # whoever hung up reads no more
            print(self.when_stopped.replace('stopped', f'stopped{by}', 1), file=sys.stderr)
        return 128 + number


@contextmanager
def _home() -> Iterator[None]:
    """Within it a user without a name or home, as in containers, has what libraries ask for when they are imported."""
    given: dict[str, str] = {}
    with TemporaryDirectory(prefix='home-') as folder:
        try:
            Path.home()
        except RuntimeError:
            given['HOME'] = folder
        try:
            getpass.getuser()
        except (KeyError, OSError):
            given['USER'] = str(os.getuid())
        os.environ.update(given)
        try:
            yield
        finally:
            for name in given:
                os.environ.pop(name, None)


@contextmanager
def _standard_streams() -> Iterator[None]:
    """Within it nothing that is printed ends the work: names of files need not be text, and nobody need read them."""
    # The number of a closed stream would be that of the next file, into which libraries would then print.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    with redirect_stdout(_lasting(sys.stdout)), redirect_stderr(_lasting(sys.stderr)):
        try:
            yield
        finally:  # also when argparse ends the process, after the help
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()


def _lasting(stream: Any) -> Any:
    try:
        raw = _Unread(stream.fileno(), 'w', closefd=False)
    except (AttributeError, OSError):  # closed, or a program's own
        return stream
    settings = {'encoding': stream.encoding, 'line_buffering': stream.line_buffering}
    return io.TextIOWrapper(io.BufferedWriter(raw), errors='backslashreplace', **settings)


class _Unread(io.FileIO):
    """An output that takes whatever is written once nobody reads it any more."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


class _Formatter(logging.Formatter):
    """Lets no name of a file steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return '\n'.join(map(printable, super().format(record).split('\n')))


class Signals:
    """Within it the signals that end a process raise `KeyboardInterrupt` in its main thread, all of them.

    Attributes:
        received: the number of the first one, or None.
    """

    _ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.received: int | None = None
        self._holds = False

    def __enter__(self) -> Self:
        self._set(self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._set(signal.SIG_DFL)  # all is said: one that comes now ends the process without a word

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it a signal waits; leaving it raises."""
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
        if self.received is not None:
            raise KeyboardInterrupt

    def _set(self, handler: Any) -> None:
        for number in self._ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a job in the background
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        if not self._holds:
            raise KeyboardInterrupt
