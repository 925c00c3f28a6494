"""What only a GPU is asked for: its matrix and copy rates, the fusion's bandwidth, training steps of the three stages.

Everything here runs on a CPU as well, slowly.
"""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from insta_colorization.models.insta.colorizers import Colorizer
from insta_colorization.models.insta.fusion import Grid, InstanceFusion
from insta_colorization.registry import build_model
from insta_colorization.structures import ColorizationSample, Instances
from insta_colorization.utils.configs import load_config

from .subject import random_boxes

STAGE_RECIPES = {
    'full': 'insta_full_cocostuff_256x256',
    'instance': 'insta_instance_cocostuff_256x256',
    'fusion': 'insta_fusion_cocostuff_256x256',
}


def matrix_rate(device: str, dtype: torch.dtype = torch.bfloat16, size: int = 8192, repeats: int = 20) -> float:
    """Multiply-accumulates per second of one large matrix product, the best of several."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return size**3 / min(_seconds(lambda: torch.mm(a, b), device, repeats))


def copy_rate(device: str, size: int = 2**30, repeats: int = 20) -> float:
    """Bytes a second that are read and written in copying `size` bytes, the best of several."""
    source = torch.zeros(size, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * size / min(_seconds(lambda: target.copy_(source), device, repeats))


def fusion_bandwidth(
    device: str, channels: int, size: int, batch: int = 16, instances: int = 8, repeats: int = 20
) -> float:
    """Bytes a second that blending a row moves in bfloat16, without the weight nets; by the kernel where it can run.

    Counted is what any way has to move: the covered cells of the images, read and written, and what they need of the
    crops, at most four values each, read.

    Args:
        device: where.
        channels: of the row.
        size: side of the row's grid, and of the crops'.
        batch: images.
        instances: instances an image.
        repeats: the best of so many counts.
    """
    boxes = torch.tensor(random_boxes((size, size), instances))
    places = Instances.cat([Instances(boxes, (size, size))] * batch)  # type: ignore[arg-type]
    grid = Grid(places, (size, size), device)
    kernel = 'auto' if device.startswith('cuda') else 'tensor'
    fusion = InstanceFusion(channels, kernel=kernel)
    layout = torch.channels_last
    feature, crops = (
        torch.randn(count, channels, size, size, device=device).to(torch.bfloat16, memory_format=layout)
        for count in (batch, len(places))
    )
    weights, maps = (torch.rand(len(one), 1, size, size, device=device) for one in (feature, crops))

    def blend() -> None:
        canvas = fusion.start(grid)
        canvas.add_maps(crops, maps)
        canvas.blend(feature, weights)

    with torch.inference_mode():
        return _moved(grid, channels, size) / min(_seconds(blend, device, repeats))


def _moved(grid: Grid, channels: int, size: int) -> int:
    """The bytes of `fusion_bandwidth`."""
    covered = int((grid.bonus == 0).sum())
    taken = sum(min(size * size, 4 * place.size[0] * place.size[1]) for place in grid.places)
    return (2 * covered + taken) * channels * torch.bfloat16.itemsize


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
    return 1 / float(np.median(_seconds(lambda: model.train_step(data, wrapper), device, steps)))


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


def _seconds(run: Callable[[], Any], device: str, repeats: int) -> list[float]:
    """How long a function takes, so many times, after a first one that does not count."""
    seconds = []
    for _ in range(repeats + 1):
        _synchronize(device)
        start = perf_counter()
        run()
        _synchronize(device)
        seconds.append(perf_counter() - start)
    return seconds[1:]


def _synchronize(device: str) -> None:
    if device.startswith('cuda'):
        torch.cuda.synchronize(device)
