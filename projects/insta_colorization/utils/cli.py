"""What the command-line tools share: a parser and a way to run that say in one sentence what is wrong."""

import argparse
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from .errors import EXPECTED, sentence


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Prints the sentence and exits with status 2."""
        self.exit(2, f'error: {message}; --help lists the options\n')


def run_command(command: Callable[[], int], *, debug: bool, when_stopped: str) -> int:
    """Runs a command and turns what it raises into one line on stderr.

    Args:
        command: returns its exit status.
        debug: whether to show the traceback instead.
        when_stopped: what to say after Ctrl-C.

    Returns:
        The exit status: the command's own, 1 after an error, 130 when stopped.
    """
    try:
        return command()
    except KeyboardInterrupt:
        print(when_stopped, file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
            return 1
        hint = '' if isinstance(error, EXPECTED) else '; --debug shows where'
        print(f'error: {sentence(error)}{hint}', file=sys.stderr)
        return 1
