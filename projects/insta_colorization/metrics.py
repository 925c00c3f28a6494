"""Forwards to `insta_colorization.evaluation.metrics`: the `custom_imports` of saved configs name this module."""

from insta_colorization.evaluation.metrics import FID, LPIPS, PSNR, SSIM, Colorfulness
