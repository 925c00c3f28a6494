"""Child registries of MMagic's, or of MMEngine's where MMagic does not import, under the scope `insta_colorization`.

MMagic's registries import the whole of `mmagic.models` at their first look-up. A child finds our types before it asks
its parent, so that zoo stays asleep unless a config names one of its types (`mmagic.X`). MMagic 1.2 refuses mmcv from
2.2 on, and so that of the forks; only its own types are missing then. MMEngine resolves a scope by importing
`<scope>.registry`, so the scope must equal the package's name.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

try:
    import mmengine.registry as mmengine
except ModuleNotFoundError as error:
    raise ImportError(
        f'insta_colorization needs MMEngine ({error}): pip install "insta_colorization[lite]", or a fork of it '
        '(docs/get_started.md)'
    ) from error
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry

SCOPE = 'insta_colorization'
# Configs may inherit from recipes of the installed package, `_base_ = 'insta_colorization::insta/X.py'`.
MODULE2PACKAGE[SCOPE] = SCOPE


def _parents() -> ModuleType:
    """MMagic's registries if it imports: it asserts the versions of mmcv and MMEngine."""
    try:
        import mmagic.registry
    except (ImportError, AssertionError):
        return mmengine
    return mmagic.registry


_PARENTS = _parents()
_OF_MMENGINE = {'EVALUATORS': 'EVALUATOR'}  # names that differ there


def _child(name: str, *modules: str) -> Registry:
    parent = getattr(_PARENTS, name, None) or getattr(mmengine, _OF_MMENGINE.get(name, name))
    # Without any location MMEngine asks a package whose recipes it knows for a function that registers its modules.
    locations = [f'{SCOPE}.{module}' for module in modules or ('registry',)]
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=locations)


MODELS = _child('MODELS', 'models', 'detectors', 'evaluation.baselines')
DATASETS = _child('DATASETS', 'datasets')
TRANSFORMS = _child('TRANSFORMS', 'datasets')
DATA_SAMPLERS = _child('DATA_SAMPLERS', 'datasets')
METRICS = _child('METRICS', 'evaluation.metrics')
HOOKS = _child('HOOKS', 'engine.hooks')
OPTIM_WRAPPERS = _child('OPTIM_WRAPPERS', 'engine.optim_wrapper')
OPTIM_WRAPPER_CONSTRUCTORS = _child('OPTIM_WRAPPER_CONSTRUCTORS', 'engine.optim_constructor')
LOOPS = _child('LOOPS', 'engine.loops')

# We add nothing to these, but under our scope MMEngine looks for a child of each and warns when there is none.
OPTIMIZERS = _child('OPTIMIZERS')
PARAM_SCHEDULERS = _child('PARAM_SCHEDULERS')
MODEL_WRAPPERS = _child('MODEL_WRAPPERS')
WEIGHT_INITIALIZERS = _child('WEIGHT_INITIALIZERS')
LOG_PROCESSORS = _child('LOG_PROCESSORS')
VISUALIZERS = _child('VISUALIZERS')
VISBACKENDS = _child('VISBACKENDS')
EVALUATORS = _child('EVALUATORS')
RUNNERS = _child('RUNNERS')
FUNCTIONS = _child('FUNCTIONS')


def build_model(cfg: Mapping[str, Any]) -> Any:
    """Builds one of our modules (or `scope.Type`), whatever the default scope is.

    MMEngine looks a type up from the current default scope, not from the registry that is asked; under MMagic's scope
    the parts of our own models would not be found.
    """
    return MODELS.build({'_scope_': SCOPE, **cfg})
