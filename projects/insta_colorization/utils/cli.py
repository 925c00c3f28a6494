"""What the command-line tools share: they tell their options and defaults, and in one sentence what is wrong."""

import argparse
import dataclasses
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from types import UnionType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from .errors import EXPECTED, sentence

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
    """Says what is wrong in one sentence, without the usage."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{'formatter_class': HelpFormatter, 'allow_abbrev': False, **settings})

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
        if isinstance(kind, UnionType):  # X | None
            kind = get_args(kind)[0]
        if kind is bool:
            settings['action'] = 'store_true'
        elif get_origin(kind) is Literal:
            settings['choices'] = get_args(kind)
        else:
            many = get_origin(kind) is tuple
            settings |= {'metavar': about['metavar'], 'nargs': '+' if many else None}
            settings['type'] = kind if kind in (int, float) else str
        target.add_argument(about['flag'] or f'--{field.name.replace("_", "-")}', **settings)


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
    """

    description: str | None
    arguments: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int | None]
    when_stopped: str = 'stopped'
    begin: Callable[[argparse.Namespace], object] = lambda args: None

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

        Returns:
            The exit status: the tool's own, 1 after an error, 130 when stopped.

        Raises:
            SystemExit: with status 2, if the arguments cannot be used.
        """
        parser = self.parser()
        args = parser.parse_args(argv)
        os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')
        logging.basicConfig(format='%(message)s')
        logging.getLogger('insta_colorization').setLevel(logging.DEBUG if args.debug else logging.INFO)
        try:
            if argv is None:
                self.begin(args)
            return self.run(args) or 0
        except KeyboardInterrupt:
            print(self.when_stopped, file=sys.stderr)
            return 130
        except UsageError as error:
            parser.error(str(error))
        except Exception as error:
            if args.debug:
                traceback.print_exc()
                return 1
            hint = '' if isinstance(error, EXPECTED) else '; --debug shows where'
            print(f'error: {sentence(error)}{hint}', file=sys.stderr)
            return 1
