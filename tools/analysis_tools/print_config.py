"""Prints a config as the runner sees it: its bases merged, the options applied.

    python tools/analysis_tools/print_config.py CONFIG [--cfg-options KEY=VALUE...]

CONFIG is a file or a recipe's name. What is printed is a config that can be saved and used.
"""

import argparse
import sys

from insta_colorization.utils.cli import Command
from insta_colorization.utils.configs import add_config, load_config


def print_config(args: argparse.Namespace) -> None:
    """Prints."""
    print(load_config(args.config, args.cfg_options).pretty_text)


main = Command(__doc__, add_config, print_config)

if __name__ == '__main__':
    sys.exit(main())
