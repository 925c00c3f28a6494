"""Child registries of MMagic's, under the scope `insta_colorization`.

MMagic's registries import the whole of `mmagic.models` at their first look-up. A child finds our types before
it asks its parent, so that zoo stays asleep unless a config names one of its types (`mmagic.X`). MMEngine
resolves a scope by importing `<scope>.registry`, so the scope must equal the package's name.
"""

from mmagic.registry import DATASETS as MMAGIC_DATASETS
from mmagic.registry import HOOKS as MMAGIC_HOOKS
from mmagic.registry import METRICS as MMAGIC_METRICS
from mmagic.registry import MODELS as MMAGIC_MODELS
from mmagic.registry import OPTIM_WRAPPERS as MMAGIC_OPTIM_WRAPPERS
from mmagic.registry import TRANSFORMS as MMAGIC_TRANSFORMS
from mmengine.registry import Registry

SCOPE = 'insta_colorization'


def _child(parent: Registry, *modules: str) -> Registry:
    locations = [f'{SCOPE}.{module}' for module in modules]
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=locations)


MODELS = _child(MMAGIC_MODELS, 'models', 'detectors')
DATASETS = _child(MMAGIC_DATASETS, 'datasets')
TRANSFORMS = _child(MMAGIC_TRANSFORMS, 'datasets')
METRICS = _child(MMAGIC_METRICS, 'metrics')
HOOKS = _child(MMAGIC_HOOKS, 'hooks')
OPTIM_WRAPPERS = _child(MMAGIC_OPTIM_WRAPPERS, 'hooks')
