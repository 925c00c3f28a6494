"""PatchColorization: photo and objects coloured by the network of Zhang et al. 2016, pasted together by masks."""

from .checkpoint import PatchFamily
from .colorizer import PatchColorizer
from .network import BINS, Eccv16Network
from .outlines import SegmentInstances
from .preprocessor import PatchPreprocessor
