"""PatchColorization: the network of Zhang, Isola, Efros 2016 colours photo and objects apart; masks paste them together."""

from .checkpoint import PatchFamily
from .colorizer import PatchColorizer
from .network import BINS, Eccv16Network
from .outlines import SegmentInstances
from .preprocessor import PatchPreprocessor
