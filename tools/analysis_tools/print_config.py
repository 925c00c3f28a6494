"""Prints a config as the runner sees it: its bases merged, the options applied.

    python tools/analysis_tools/print_config.py CONFIG [--cfg-options KEY=VALUE...]

CONFIG is a file or a recipe's name. What is printed is a config that can be saved and used.
"""

import argparse
import sys
from collections.abc import Sequence

from mmengine.config import DictAction

from insta_colorization.utils.cli import Parser, run_command
from insta_colorization.utils.configs import load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config, by path or name')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    parser.add_argument('--debug', action='store_true', help='show where an error came from')
    return parser.parse_args(argv)


def print_config(args: argparse.Namespace) -> int:
    """Prints; returns the exit status."""
    config = load_config(args.config)
    config.merge_from_dict(args.cfg_options or {})
    print(config.pretty_text)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    args = parse_args(argv)
    return run_command(lambda: print_config(args), debug=args.debug, when_stopped='stopped')


if __name__ == '__main__':
    sys.exit(main())
