"""Configs as text that no formatter has touched, and recipes that are read once."""

import copy
import functools
from pathlib import Path
from typing import Any

import mmengine.config.config
from mmengine.config import Config

RECIPES = Path(__file__).resolve().parents[1] / 'configs'


def leave_configs_unformatted() -> None:
    """Keeps MMEngine from formatting a config, for a second of CPU, each time that a run logs or saves it."""
    mmengine.config.config.FormatCode = lambda text, **style: (text, True)


def read_recipes_once() -> None:
    """Keeps what MMEngine makes of each file of the recipes, which no test changes, for all the tests of a process."""
    read = Config._file2dict
    read_once = functools.cache(read)

    def recalled(filename: str, *args: Any, **kwargs: Any) -> tuple[dict, str, dict]:
        if Path(filename).is_relative_to(RECIPES):
            return copy.deepcopy(read_once(filename, *args, **kwargs))
        return read(filename, *args, **kwargs)

    Config._file2dict = staticmethod(recalled)
