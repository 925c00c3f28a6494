"""Datasets, samplers and transforms."""

try:
    import mmcv.transforms
except ImportError as error:
    raise ImportError(
        f'datasets and transforms need mmcv ({error}): pip install "mmcv-lite>=2.1", mmcv or a fork of it '
        '(docs/get_started.md)'
    ) from error

from .augmentations import AgePhoto, SampleHints
from .captions import LoadCaption, LoadCaptions, LuminanceJitter, SwapColors
from .dataset import ColorizationDataset
from .sampler import PhotoSampler
from .semantic import ForgetMap, LoadSemanticMap
from .transforms import (
    CropInstances,
    CropToInstance,
    LoadInstances,
    LoadPhoto,
    PackColorization,
    RandomCropPhoto,
    RandomFlipPhoto,
    RandomInstanceWindows,
    ResizePhoto,
    SelectInstances,
)
