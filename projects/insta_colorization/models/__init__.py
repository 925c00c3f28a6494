"""Networks, fusion, losses and the models that the runner trains and tests."""

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
from .losses import HuberLoss, RebalancedClassLoss

__all__ = [
    'STAGES',
    'AnnealedMeanDecoder',
    'Backbone',
    'ColorizationBackbone',
    'ColorizationPreprocessor',
    'Colorizer',
    'Colors',
    'EfficientNetLite',
    'FeatureInfo',
    'FusionNetwork',
    'HuberLoss',
    'ImageColorizer',
    'InstColorizer',
    'InstanceColorizer',
    'InstanceFusion',
    'LiteBackbone',
    'MaskFusion',
    'RebalancedClassLoss',
    'RegressionDecoder',
    'Stage',
    'network_input',
    'parse_decoder',
]
