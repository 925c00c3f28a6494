"""Networks that turn lightness and hints into features and colours."""

from .base import Backbone, Colors, FeatureInfo
from .lite import EfficientNetLite, LiteBackbone
from .zhang2017 import STAGES, ColorizationBackbone, Stage, network_input
