"""Finds configs by path or name, in the checkout or inside the installed package."""

import argparse
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

PACKAGE = Path(__file__).parents[1]
DEFAULT_WEIGHTS = PACKAGE / 'weights' / 'insta_fusion_lite.safetensors'
# By the network that they are for, the full-image network or the one that takes a map.
SHIPPED_WEIGHTS = {
    'LiteBackbone': DEFAULT_WEIGHTS,
    'LiteColorNet': PACKAGE / 'weights' / 'semantic_lite.safetensors',
    'ColorizationBackbone': PACKAGE / 'weights' / 'insta_fusion_photos_w025.safetensors',
}
# What weights of anyone's are made for, unless their metadata or a config says otherwise.
PUBLISHED_CONFIG = 'insta_fusion_cocostuff_256x256'


# What MMEngine's runner, the tools and prediction read; other top-level names are the config's own.
_SETTINGS = frozenset(
    (
        *(
            'model',
            'work_dir',
            'train_dataloader',
            'val_dataloader',
            'test_dataloader',
            'train_cfg',
            'val_cfg',
            'test_cfg',
        ),
        *('auto_scale_lr', 'optim_wrapper', 'param_scheduler', 'val_evaluator', 'test_evaluator', 'default_hooks'),
        *(
            'custom_hooks',
            'data_preprocessor',
            'load_from',
            'resume',
            'launcher',
            'env_cfg',
            'log_processor',
            'log_level',
        ),
        *(
            'visualizer',
            'default_scope',
            'randomness',
            'experiment_name',
            'runner_type',
            'model_wrapper_cfg',
            'compile',
        ),
        *('find_unused_parameters', 'custom_imports', 'input_size', 'detector'),
    )
)


def config_folder() -> Path:
    """The recipes' folder: `.mim/configs` of an installed package, else `configs` of the checkout."""
    installed = PACKAGE / '.mim' / 'configs'
    return installed if installed.is_dir() else PACKAGE.parents[1] / 'configs'


def find_recipes() -> dict[str, Path]:
    """The recipes' files by name."""
    return {file.stem: file for file in sorted(config_folder().rglob('*.py')) if '_base_' not in file.parts}


def shipped_weights(model: Mapping[str, Any]) -> Path:
    """The weights that ship for the networks of a config's model, the default ones if there are none for them."""
    networks = (model.get(name) or {} for name in ('image_net', 'color_net'))
    kinds = [str(network.get('type', '')).rpartition('.')[2] for network in networks]
    return next((SHIPPED_WEIGHTS[kind] for kind in kinds if kind in SHIPPED_WEIGHTS), DEFAULT_WEIGHTS)


def config_of_weights(metadata: Mapping[str, str]) -> Path:
    """The recipe that a checkpoint's metadata name, the paper's if they name none that is here.

    It is never a path: a config is a program, and a file of weights must not choose which one runs.
    """
    recipes = find_recipes()
    return recipes.get(metadata.get('config', ''), recipes[PUBLISHED_CONFIG])


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
    recipes = find_recipes()
    stem = path.name.removesuffix('.py')
    if stem in recipes and path.name == str(name):
        return recipes[stem]
    close = difflib.get_close_matches(stem, recipes, n=3, cutoff=0.3) or list(recipes)
    raise FileNotFoundError(f'config {name} does not exist; close names are {", ".join(close)}')


def add_config(parser: argparse.ArgumentParser, text: str = 'config, by path or name') -> None:
    """Gives a command line the arguments of `load_config`: `config` and `--cfg-options`."""
    parser.add_argument('config', help=text)
    add_cfg_options(parser)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Gives a command line `--cfg-options`, the settings of `load_config`."""
    from mmengine.config import DictAction

    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='settings that override the config'
    )


def load_config(
    config: 'str | Path | Mapping[str, Any] | Config', settings: Mapping[str, Any] | None = None
) -> 'Config':
    """A config that has a model.

    Args:
        config: what `find_config` takes, or a config that is loaded already.
        settings: override the config's, {'model.decoder': None}.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the file is not a config, or says nothing about a model; or nothing would read a setting.
    """
    from mmengine.config import Config

    import insta_colorization.registry  # noqa: F401  # it tells MMEngine where this package has its recipes

    if isinstance(config, Config):
        loaded, source = config, config.filename
    elif isinstance(config, Mapping):
        loaded, source = Config(dict(config)), None
    else:
        source = find_config(config)
        try:
            loaded = Config.fromfile(source)
        # A config is a program: it fails in as many ways.
        except Exception as error:
            reason = ': '.join(filter(None, (type(error).__name__, str(error).strip())))
            raise ValueError(f'config {source} cannot be used: {reason}') from error
    if not isinstance(loaded.get('model'), Mapping):
        raise ValueError(f'config {source or "given"} has no `model`, but has {", ".join(loaded) or "nothing"}')
    for key in settings or {}:
        _require_used(key.partition('.')[0], loaded.to_dict())
    loaded.merge_from_dict(dict(settings or {}))
    return loaded


def _require_used(name: str, config: Mapping[str, Any]) -> None:
    """Raises `ValueError` for a setting that nothing would read: a slip, or a variable that a config is made with."""
    if name in _SETTINGS:
        return
    if name not in config:
        close = difflib.get_close_matches(name, {*_SETTINGS, *config}, n=1)
        raise ValueError(f'there is no setting {name!r}' + (f'; the closest one is {close[0]!r}' if close else ''))
    used = [place for place, value in _places(config) if value == config[name] and _is_of(name, place, value)]
    if used:
        raise ValueError(
            f'{name!r} is a variable that the config was made with; what it went into is {", ".join(used)}'
        )


def _places(config: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted keys of a config's settings below its top level, with their values."""
    items = config.items() if isinstance(config, Mapping) else enumerate(config) if isinstance(config, list) else ()
    for key, value in items:
        if prefix:
            yield f'{prefix}.{key}', value
        yield from _places(value, f'{prefix}.{key}' if prefix else str(key))


def _is_of(name: str, place: str, value: Any) -> bool:
    """Whether a setting that equals a variable comes from it: by its name, or because it is a whole part."""
    return not place.startswith(f'{name}.') and (
        place.endswith(f'.{name}') or bool(value and isinstance(value, list | dict))
    )
