"""Metrics for MMEngine's evaluator."""

from .colorfulness import Colorfulness, colorfulness
from .psnr import PSNR

__all__ = ['PSNR', 'Colorfulness', 'colorfulness']
