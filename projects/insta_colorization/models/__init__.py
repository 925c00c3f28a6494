"""Networks, fusion, losses and the models that the runner trains and tests."""

from .backbones import STAGES, ColorizationBackbone, Colors, Stage, network_input
from .decoders import AnnealedMeanDecoder, RegressionDecoder, parse_decoder
from .insta import (
    ColorizationPreprocessor,
    Colorizer,
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
    'ColorizationBackbone',
    'ColorizationPreprocessor',
    'Colorizer',
    'Colors',
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
