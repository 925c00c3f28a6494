"""Networks that turn lightness and hints into features and colours."""

from .zhang2017 import STAGES, ColorizationBackbone, Colors, Stage, network_input

__all__ = ['STAGES', 'ColorizationBackbone', 'Colors', 'Stage', 'network_input']
