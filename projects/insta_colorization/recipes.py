"""Finds configs by path or name, in the checkout or inside the installed package."""

import difflib
from pathlib import Path

PACKAGE = Path(__file__).parent
DEFAULT_CONFIG = 'insta_full_photos_w025_128x128'
DEFAULT_WEIGHTS = PACKAGE / 'weights' / 'insta_full_photos_w025.safetensors'


def config_folder() -> Path:
    """The recipes' folder: `.mim/configs` of an installed package, else `configs` of the checkout."""
    installed = PACKAGE / '.mim' / 'configs'
    return installed if installed.is_dir() else PACKAGE.parents[1] / 'configs'


def find_config(name: str | Path) -> Path:
    """The file of a config.

    Args:
        name: a path, or a recipe's name such as `insta_full_cocostuff_256x256`, with or without `.py`.

    Raises:
        FileNotFoundError: there is no such file or recipe; the message lists the names that come close.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    recipes = {file.stem: file for file in sorted(config_folder().rglob('*.py')) if '_base_' not in file.parts}
    stem = path.name.removesuffix('.py')
    if stem in recipes and path.name in (str(name), stem):
        return recipes[stem]
    close = difflib.get_close_matches(stem, recipes, n=3, cutoff=0.3) or list(recipes)
    raise FileNotFoundError(f'config {name} does not exist; close names are {", ".join(close)}')
