"""Networks, fusion, losses and the models that the runner trains and tests."""

from .backbone import STAGES, ColorizationBackbone, Colors, Stage, network_input
from .baselines import GrayBaseline, TintBaseline, fit_tint
from .colorizers import Colorizer, ImageColorizer, InstanceColorizer, InstColorizer
from .decoders import AnnealedMeanDecoder, RegressionDecoder, parse_decoder
from .fusion import FusionNetwork, InstanceFusion, MaskFusion
from .losses import HuberLoss, RebalancedClassLoss
from .preprocessor import ColorizationPreprocessor

__all__ = [
    'STAGES',
    'AnnealedMeanDecoder',
    'ColorizationBackbone',
    'ColorizationPreprocessor',
    'Colorizer',
    'Colors',
    'FusionNetwork',
    'GrayBaseline',
    'HuberLoss',
    'ImageColorizer',
    'InstColorizer',
    'InstanceColorizer',
    'InstanceFusion',
    'MaskFusion',
    'RebalancedClassLoss',
    'RegressionDecoder',
    'Stage',
    'TintBaseline',
    'fit_tint',
    'network_input',
    'parse_decoder',
]
