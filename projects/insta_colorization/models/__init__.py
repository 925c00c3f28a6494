"""Networks, fusion, losses and the models that the runner trains and tests."""

from .backbones import STAGES, Backbone, ColorizationBackbone, Colors, FeatureInfo, Stage, network_input
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
    'FeatureInfo',
    'FusionNetwork',
    'HuberLoss',
    'ImageColorizer',
    'InstColorizer',
    'InstanceColorizer',
    'InstanceFusion',
    'MaskFusion',
    'RebalancedClassLoss',
    'RegressionDecoder',
    'Stage',
    'network_input',
    'parse_decoder',
]
