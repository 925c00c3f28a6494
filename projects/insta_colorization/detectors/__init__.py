"""Ways to get the instances of a photo, behind one protocol."""

from .base import InstanceDetector, NoDetector, lightness_copies
from .build import build_detector
from .cached import CachedDetector
from .mmdet import MMDetDetector
from .onnx import OnnxDetector
from .opencv import OpenCVDetector
