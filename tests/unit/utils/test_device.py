import logging

import pytest
import torch

from insta_colorization.utils import device as precision
from insta_colorization.utils.device import has_bfloat16, resolve_device, resolve_precision


@pytest.mark.parametrize(
    ('gpus', 'name', 'device'),
    [
        (0, 'auto', 'cpu'),
        (0, 'cpu', 'cpu'),
        (2, 'auto', 'cuda'),
        (2, 'cpu', 'cpu'),
        (2, 'cuda', 'cuda'),
        (2, 'cuda:1', 'cuda:1'),
    ],
)
def test_devices(monkeypatch, gpus, name, device):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)

    assert resolve_device(name) == device


@pytest.mark.parametrize(
    ('gpus', 'name', 'known'), [(0, 'cuda', 'cpu'), (0, 'tpu', 'cpu'), (1, 'cuda:1', 'cpu, cuda, cuda:0')]
)
def test_devices_that_are_not_here(monkeypatch, gpus, name, known):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)

    with pytest.raises(ValueError, match=f"^there is no device '{name}' here; there are {known}$"):
        resolve_device(name)


@pytest.mark.parametrize(
    ('name', 'device', 'native', 'expected'),
    [
        ('fp32', 'cpu', True, torch.float32),
        ('fp32', 'cuda', True, torch.float32),
        ('auto', 'cpu', True, torch.bfloat16),
        ('auto', 'cpu', False, torch.float32),
        ('auto', 'cuda:1', True, torch.bfloat16),
        ('auto', 'cuda', False, torch.float32),
        ('bf16', 'cpu', True, torch.bfloat16),
        ('bf16', 'cpu', False, torch.bfloat16),
        ('fp16', 'cuda', False, torch.float16),
    ],
)
def test_names(monkeypatch, caplog, name, device, native, expected):
    monkeypatch.setattr(precision, 'has_bfloat16', lambda device: native)

    assert resolve_precision(name, device) == expected
    slower = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(slower) == (name == 'bf16' and not native)


@pytest.mark.parametrize(
    ('name', 'device', 'message'),
    [
        ('fp8', 'cpu', "precision must be one of auto, fp32, bf16, fp16, but got 'fp8'"),
        ('fp16', 'cpu', "precision 'fp16' needs a GPU, but the device is 'cpu'"),
    ],
)
def test_bad_names(name, device, message):
    with pytest.raises(ValueError, match=message):
        resolve_precision(name, device)


@pytest.mark.parametrize(
    ('features', 'expected'),
    [
        ({'avx512_bf16': True, 'amx_bf16': False}, True),
        ({'avx512_bf16': False, 'amx_bf16': True}, True),
        ({'avx2': True, 'avx512_f': True, 'avx512_bf16': False}, False),
        ({}, False),
    ],
    ids=['AVX-512', 'AMX', 'older', 'unknown'],
)
def test_processors_that_have_bfloat16(monkeypatch, features, expected):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: features, raising=False)

    assert has_bfloat16('cpu') is expected


def test_a_torch_that_does_not_tell_what_the_processor_has(monkeypatch):
    monkeypatch.delattr(torch.cpu, 'get_capabilities', raising=False)

    assert not has_bfloat16('cpu')
