"""Semantic-driven colorization: colours follow the class of each pixel, seen by a network or corrected by hand."""

from .checkpoint import SemanticFamily, SemanticLiteFamily
from .colorizer import SemanticColorizer, SemanticSegmenter
from .lite import LiteColorNet, LiteSegmenter
from .losses import SemanticCrossEntropy
from .network import SemanticColorNet
from .preprocessor import SemanticPreprocessor
from .segmenter import GridSegmenter
