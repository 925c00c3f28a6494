"""Where and how precisely the networks compute, and what this machine has instructions for."""

import logging
from typing import get_args

import torch

from .options import Precision

logger = logging.getLogger(__name__)


def resolve_device(device: str) -> str:
    """The device that 'auto' or a name stands for.

    Raises:
        ValueError: there is no such device here.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == 'auto':
        return 'cuda' if count else 'cpu'
    known = ['cpu', *(['cuda'] if count else []), *(f'cuda:{index}' for index in range(count))]
    if device not in known:
        raise ValueError(f'there is no device {device!r} here; there are {", ".join(known)}')
    return device


def resolve_precision(precision: str, device: str) -> torch.dtype:
    """The number format that a name stands for on a device.

    Args:
        precision: 'fp32', 'bf16', 'fp16', or 'auto' for bfloat16 where the device has instructions for it and float32
            elsewhere.
        device: 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        ValueError: an unknown name, or fp16 without a GPU.
    """
    if precision not in get_args(Precision):
        raise ValueError(f'precision must be one of {", ".join(get_args(Precision))}, but got {precision!r}')
    if precision == 'fp32':
        return torch.float32
    if precision == 'fp16':
        if not device.startswith('cuda'):
            raise ValueError(f"precision 'fp16' needs a GPU, but the device is {device!r}; 'bf16' runs there")
        return torch.float16
    if has_bfloat16(device):
        return torch.bfloat16
    if precision == 'auto':
        return torch.float32
    logger.warning("there are no bfloat16 instructions on %s: 'bf16' is slower here than 'fp32'", device)
    return torch.bfloat16


def has_bfloat16(device: str) -> bool:
    """Whether a device multiplies bfloat16 in hardware."""
    if device.startswith('cuda'):
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    features: dict[str, bool] = getattr(torch.cpu, 'get_capabilities', dict)()  # torch 2.6 does not tell
    return bool(features.get('amx_bf16') or features.get('avx512_bf16') or features.get('bf16'))
