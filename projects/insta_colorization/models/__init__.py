"""Networks, fusion, losses and the models that the runner trains and tests.

Every folder but the backbones' is a method; importing this package imports them all, so that their models and families
of checkpoints are registered.
"""

from importlib import import_module
from pkgutil import iter_modules

from .backbones import (
    STAGES,
    Backbone,
    ColorizationBackbone,
    Colors,
    EfficientNetLite,
    FeatureInfo,
    LiteBackbone,
    Stage,
    network_input,
)
from .colorizer import Colorizer
from .decoders import AnnealedMeanDecoder, RegressionDecoder, parse_decoder
from .insta import (
    ColorizationPreprocessor,
    FusionNetwork,
    ImageColorizer,
    InstanceColorizer,
    InstanceFusion,
    InstColorizer,
    MaskFusion,
)
from .losses import HuberLoss, LogErrorLoss, RebalancedClassLoss

for _module in iter_modules(__path__):
    if _module.ispkg:
        import_module(f'{__name__}.{_module.name}')
