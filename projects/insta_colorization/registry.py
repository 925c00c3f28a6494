"""Child registries of MMagic's, under the scope `insta_colorization`.

MMagic's registries import the whole of `mmagic.models` at their first look-up. A child finds our types before
it asks its parent, so that zoo stays asleep unless a config names one of its types (`mmagic.X`). MMEngine
resolves a scope by importing `<scope>.registry`, so the scope must equal the package's name.
"""

from collections.abc import Mapping
from typing import Any

import mmengine.registry as mmengine
from mmengine.registry import Registry

try:
    import mmagic.registry as mmagic
except (ImportError, AssertionError) as error:  # it asserts the version of mmcv
    raise ImportError(
        f"MMagic's registries need mmcv 2.1 ({error}): pip install mmcv-lite==2.1.0, or mmcv 2.1 with its compiled ops "
        'for the detectors of mmdet (docs/get_started.md)'
    ) from error

SCOPE = 'insta_colorization'


def _child(parent: Registry, *modules: str) -> Registry:
    locations = [f'{SCOPE}.{module}' for module in modules]
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=locations)


MODELS = _child(mmagic.MODELS, 'models', 'detectors', 'evaluation.baselines')
DATASETS = _child(mmagic.DATASETS, 'datasets')
TRANSFORMS = _child(mmagic.TRANSFORMS, 'datasets')
DATA_SAMPLERS = _child(mmagic.DATA_SAMPLERS, 'datasets')
METRICS = _child(mmagic.METRICS, 'evaluation.metrics')
HOOKS = _child(mmagic.HOOKS, 'engine.hooks')
OPTIM_WRAPPERS = _child(mmagic.OPTIM_WRAPPERS, 'engine.optim_wrapper')
LOOPS = _child(mmagic.LOOPS, 'engine.loops')

# We add nothing to these, but under our scope MMEngine looks for a child of each and warns when there is none.
OPTIMIZERS = _child(mmagic.OPTIMIZERS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmagic.OPTIM_WRAPPER_CONSTRUCTORS)
PARAM_SCHEDULERS = _child(mmagic.PARAM_SCHEDULERS)
MODEL_WRAPPERS = _child(mmagic.MODEL_WRAPPERS)
WEIGHT_INITIALIZERS = _child(mmagic.WEIGHT_INITIALIZERS)
LOG_PROCESSORS = _child(mmagic.LOG_PROCESSORS)
VISUALIZERS = _child(mmagic.VISUALIZERS)
VISBACKENDS = _child(mmagic.VISBACKENDS)
EVALUATORS = _child(mmagic.EVALUATORS)
RUNNERS = _child(mmagic.RUNNERS)
FUNCTIONS = _child(mmengine.FUNCTIONS)


def build_model(cfg: Mapping[str, Any]) -> Any:
    """Builds one of our modules (or `scope.Type`), whatever the default scope is.

    MMEngine looks a type up from the current default scope, not from the registry that is asked; under MMagic's scope
    the parts of our own models would not be found.
    """
    return MODELS.build({'_scope_': SCOPE, **cfg})
