"""Datasets and transforms."""

from .dataset import ColorizationDataset
from .transforms import LoadPhoto, PackColorization, RandomCropPhoto, RandomFlipPhoto, ResizePhoto

__all__ = ['ColorizationDataset', 'LoadPhoto', 'PackColorization', 'RandomCropPhoto', 'RandomFlipPhoto', 'ResizePhoto']
