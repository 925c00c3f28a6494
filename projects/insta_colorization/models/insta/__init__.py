"""Instance-aware Image Colorization (Su, Chu, Huang, CVPR 2020)."""

from .checkpoint import InstaFamily
from .colorizers import ImageColorizer, InstanceColorizer, InstColorizer
from .fusion import FusionNetwork, InstanceFusion, MaskFusion
from .preprocessor import ColorizationPreprocessor
