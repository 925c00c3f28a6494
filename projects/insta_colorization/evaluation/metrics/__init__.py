"""Metrics for MMEngine's evaluator."""

from .base import PhotoMetric, PhotoResult
from .captions import CaptionFollowing, CaptionLevel
from .colorfulness import Colorfulness, colorfulness
from .fid import FID, EncoderFrechet
from .lpips import LPIPS
from .psnr import PSNR
from .semantic import ClassColourError, SemanticIoU
from .ssim import SSIM, structural_similarity
