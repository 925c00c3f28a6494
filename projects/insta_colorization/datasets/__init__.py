"""Datasets, samplers and transforms."""

from .augmentations import AgePhoto, SampleHints
from .dataset import ColorizationDataset
from .sampler import PhotoSampler
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
