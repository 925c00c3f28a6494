"""What only a GPU is asked for: its matrix rate, and training steps of the paper's three stages.

Everything here runs on a CPU as well, slowly.
"""

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from insta_colorization.models.colorizers import Colorizer
from insta_colorization.recipes import load_config
from insta_colorization.registry import build_model
from insta_colorization.structures import ColorizationSample, Instances

from .subject import random_boxes

STAGE_RECIPES = {
    'full': 'insta_full_cocostuff_256x256',
    'instance': 'insta_instance_cocostuff_256x256',
    'fusion': 'insta_fusion_cocostuff_256x256',
}


def matrix_rate(device: str, dtype: torch.dtype = torch.bfloat16, size: int = 8192, repeats: int = 20) -> float:
    """Multiply-accumulates per second of one large matrix product, the best of several."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats):
        _synchronize(device)
        start = perf_counter()
        torch.mm(a, b)
        _synchronize(device)
        seconds.append(perf_counter() - start)
    return size**3 / min(seconds)


def training_rate(
    stage: str, device: str, width: float, size: int, batch: int = 16, instances: int = 8, steps: int = 10
) -> float:
    """Training steps per second of a stage on one batch that is there already, on a GPU with bfloat16 autocast.

    Args:
        stage: 'full', 'instance' or 'fusion'.
        device: where.
        width: of the networks.
        size: side of the networks' input.
        batch: photos a step.
        instances: instances a photo, in the fusion stage.
        steps: how many are timed; the median counts.
    """
    model = _model(STAGE_RECIPES[stage], width).to(device).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-5)
    # MMEngine's automatic precision needs a GPU.
    gpu = device.startswith('cuda')
    wrapper = AmpOptimWrapper(dtype='bfloat16', optimizer=optimizer) if gpu else OptimWrapper(optimizer)
    data = _batch(size, batch, instances if stage == 'fusion' else None)
    seconds = []
    for _ in range(steps + 1):
        _synchronize(device)
        start = perf_counter()
        model.train_step(data, wrapper)
        _synchronize(device)
        seconds.append(perf_counter() - start)
    return 1 / float(np.median(seconds[1:]))


def _model(recipe: str, width: float) -> Colorizer:
    model: Mapping[str, Any] = load_config(recipe).model
    scaled = {
        name: {**value, 'width': width} if name in ('image_net', 'instance_net', 'fusion_net') else value
        for name, value in model.items()
    }
    return build_model(scaled)


def _batch(size: int, count: int, instances: int | None) -> dict[str, Any]:
    """Photos of noise; with as many instances each, or as a stage without any gets them."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, (*shape, 3, size, size), generator=generator, dtype=torch.uint8)

    inputs = {'image': list(noise(count))}
    samples = [ColorizationSample() for _ in range(count)]
    if instances is not None:
        inputs['crops'] = list(noise(count, instances))
        for sample in samples:
            sample.instances = Instances(torch.tensor(random_boxes((size, size), instances)), (size, size))  # type: ignore[arg-type]
    return {'inputs': inputs, 'data_samples': samples}


def _synchronize(device: str) -> None:
    if device.startswith('cuda'):
        torch.cuda.synchronize(device)
