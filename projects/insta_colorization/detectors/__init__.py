"""Ways to get the instances of a photo, behind one protocol."""

from .base import InstanceDetector, NoDetector, lightness_copies
from .build import build_detector
from .cached import CachedDetector
from .dense_head import DenseDetector, DenseHead, DetectionPreprocessor
from .embedded import EmbeddedDetector
from .encoder import FrozenEncoder
from .mmdet import MMDetDetector
from .onnx import OnnxDetector
from .opencv import OpenCVDetector
