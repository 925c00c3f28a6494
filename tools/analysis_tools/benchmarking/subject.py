"""What is measured: one photo with its boxes, the package's way to colour it, and the published way."""

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from insta_colorization.apis.inferencer import ColorizationInferencer
from insta_colorization.apis.jobs import plan
from insta_colorization.checkpoints.io import save_checkpoint
from insta_colorization.colorspace import AB_RANGE
from insta_colorization.imaging.photo import write_photo
from insta_colorization.models.insta.colorizers import InstColorizer
from insta_colorization.structures import ColorizationSample, Instances
from insta_colorization.utils.device import resolve_device, resolve_precision

from .baseline import LoopAndPad

Boxes = list[list[float]]
OURS, BASELINE = 'ours', 'loop and pad'


@dataclass(frozen=True)
class Case:
    """One way to colour the photo.

    Attributes:
        implementation: `OURS` or `BASELINE`.
        precision: 'fp32', 'bf16' or 'fp16'.
        batch: how many photos at once, the same one so many times.
        instances: how many of its boxes are used, the first ones.
        size: side of the networks' input.
    """

    implementation: str
    precision: str
    batch: int
    instances: int
    size: int

    @property
    def plain(self) -> 'Case':
        """The same without instances."""
        return replace(self, instances=0)

    @property
    def reference(self) -> 'Case':
        """What it is compared with: the published way."""
        return Case(BASELINE, 'fp32', 1, self.instances, self.size)


@dataclass(frozen=True)
class Setup:
    """What every process needs to build the same subject; JSON-able.

    Attributes:
        config: by path or name; None for the weights' own.
        checkpoint: of the networks; None for the shipped weights.
        photo: file of the photo.
        boxes: (x0, y0, x1, y1) in its pixels, the best ones first.
        device: 'cpu', 'cuda' or 'cuda:N'.
        threads: of torch; None for its default.
        detector: what the inferencer takes.
    """

    config: str | None
    checkpoint: str | None
    photo: str
    boxes: Boxes
    device: str
    threads: int | None
    detector: Any = 'auto'

    def inferencer(self, **settings: Any) -> ColorizationInferencer:
        """The pipeline with these weights on this device; settings go before the setup's own."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        own = {'device': self.device, 'detector': self.detector, 'show_progress': False}
        return ColorizationInferencer(self.config, self.checkpoint, **{**own, **settings})

    def on_boxes(self, folder: Path, **settings: Any) -> ColorizationInferencer:
        """The pipeline that uses these boxes, all of them, as if they were detected; their file goes to the folder."""
        path = folder / 'boxes.npz'
        np.savez(path, bbox=np.array(self.boxes).reshape(-1, 4), scores=np.ones(len(self.boxes)))
        detector = {'type': 'CachedDetector', 'path': str(path)}
        return self.inferencer(detector=detector, max_instances=len(self.boxes), score_thr=0.0, **settings)


class Subject:
    """The photo, ready to be coloured in either way.

    Args:
        setup: what to build.
        baseline: whether the published way is wanted as well.

    Raises:
        ValueError: the weights hold no fusion network.
    """

    def __init__(self, setup: Setup, baseline: bool = True) -> None:
        self.setup = setup
        self.device = resolve_device(setup.device)
        # On a GPU float32 would else be TF32, with 10 bits of mantissa, and nothing would agree within 1e-5.
        torch.backends.cudnn.allow_tf32 = False
        # The published networks are read by their regression head.
        self.inferencer = setup.inferencer(decoder='regression', precision='fp32')
        if not self.inferencer.fused:
            raise ValueError(f'all three networks are needed, but {setup.checkpoint} holds the image_net alone')
        self.job = plan([setup.photo])[0]
        self.photo = self.inferencer.read(self.job)
        self.published = LoopAndPad(self.inferencer.model, self.synchronize) if baseline else None
        self._inputs: dict[Case, dict] = {}

    def synchronize(self) -> None:
        """Waits until the device is done."""
        if self.device.startswith('cuda'):
            torch.cuda.synchronize(self.device)

    def instances(self, count: int) -> Instances:
        """The photo's first boxes.

        Raises:
            ValueError: there are fewer.
        """
        if count > len(self.setup.boxes):
            raise ValueError(f'{count} instances are wanted, but there are boxes for {len(self.setup.boxes)}')
        boxes = torch.tensor(self.setup.boxes[:count]).reshape(-1, 4)
        return Instances(boxes, self.photo.size)  # type: ignore[arg-type]

    def inputs(self, case: Case) -> dict:
        """The networks' data of a case, made once."""
        key = replace(case, implementation=OURS, precision='fp32')
        if key not in self._inputs:
            self.inferencer.input_size = case.size
            instances = self.instances(case.instances)
            data = [self.inferencer.pack(self.job, self.photo, instances).data for _ in range(case.batch)]
            self._inputs[key] = self.inferencer.collate_fn(data)
        return self._inputs[key]

    def run(self, case: Case) -> tuple[Tensor, dict[str, float]]:
        """Colours a case's photos.

        Returns:
            ab (batch, 2, S, S) in network units, and seconds of the whole batch: `networks` from 8-bit RGB to ab,
            `full` for whole photos without any fusion, and with instances `instance` for crops without any fusion,
            `fusion` for the rest, wherever it runs, `fused` for all that the fusion network does and needs; in the
            published way also `plain`, the network that runs for nobody.
        """
        inputs = self.inputs(case)
        self.synchronize()
        start = perf_counter()
        ab, seconds = (self._ours if case.implementation == OURS else self._baseline)(case, inputs)
        self.synchronize()
        return ab, {**seconds, 'networks': perf_counter() - start}

    def _ours(self, case: Case, inputs: dict) -> tuple[Tensor, dict[str, float]]:
        self.inferencer.dtype = resolve_precision(case.precision, self.device)
        with stage_times(self.inferencer.model, self.synchronize) as seconds:
            samples = self.inferencer.forward(inputs)
        return torch.stack([sample.pred_ab for sample in samples]), stages_of_ours(seconds)

    def _baseline(self, case: Case, inputs: dict) -> tuple[Tensor, dict[str, float]]:
        assert self.published is not None, 'the published way was not asked for'
        batch = self.inferencer.model.data_preprocessor(inputs)
        ab, seconds = self.published(batch['lightness'], batch['crop_lightness'], batch['instances'])
        own = seconds.get('fusion', 0.0)
        return ab.detach(), {**seconds, 'full': seconds['plain'] + seconds.get('fused', 0.0) - own}

    def surroundings(self, case: Case, ab: Tensor) -> dict[str, float]:
        """Seconds of what lies around the networks, for one photo.

        Args:
            case: says how many crops are cut.
            ab: (2, S, S), what the networks found.

        Returns:
            `decode` from file to pixels, `prepare` (resizing and cutting out), `merge` (ab to the photo's size, joined
            with its lightness) and `encode` to a PNG file.
        """
        self.inferencer.input_size = case.size
        instances, sample = self.instances(case.instances), ColorizationSample()
        sample.pred_ab = ab
        seconds = {}
        photo, seconds['decode'] = timed(lambda: self.inferencer.read(self.job))
        _, seconds['prepare'] = timed(lambda: self.inferencer.pack(self.job, photo, instances))
        (picture,), seconds['merge'] = timed(lambda: self.inferencer.visualize([photo], [sample]))
        with tempfile.TemporaryDirectory() as folder:
            result = photo.with_pixels(picture)
            _, seconds['encode'] = timed(lambda: write_photo(result, Path(folder) / 'result.png'))
        return seconds

    def detection(self) -> float:
        """Seconds of finding the photo's objects, once the detector is there."""
        detector = self.inferencer.detector
        return timed(lambda: detector.detect([self.photo.rgb8], [self.job.name]))[1]


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a function returns and how many seconds it took."""
    start = perf_counter()
    result = function()
    return result, perf_counter() - start


@contextmanager
def stage_times(model: InstColorizer, synchronize: Callable[[], None]) -> Iterator[dict[str, float]]:
    """Within it the time in a model's networks and in its fusions adds up, {'network.method': seconds}."""
    seconds: dict[str, float] = defaultdict(float)

    def watched(name: str, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            synchronize()
            start = perf_counter()
            result = function(*args, **kwargs)
            synchronize()
            seconds[name] += perf_counter() - start
            return result

        return call

    calls = [(network, getattr(model, network), 'forward') for network in model.networks]
    calls += [('fusion_net', model.fusion_net, method) for method in ('start', 'add')]
    calls += [('fusions', fusion, 'forward') for fusion in model.fusion_net.fusions.values()]
    with ExitStack() as stack:
        for name, owner, method in calls:
            stack.enter_context(patch.object(owner, method, watched(f'{name}.{method}', getattr(owner, method))))
        yield seconds


def stages_of_ours(seconds: dict[str, float]) -> dict[str, float]:
    """The stages as `Subject.run` names them; crops are handed to the fusion while the instance network runs."""
    if 'fusion_net.forward' not in seconds:
        return {'full': seconds['image_net.forward']}
    beside = seconds['fusion_net.start'] + seconds['fusion_net.add']
    return {
        'full': seconds['fusion_net.forward'] - seconds['fusions.forward'],
        'instance': seconds['instance_net.forward'] - seconds['fusion_net.add'],
        'fusion': beside + seconds['fusions.forward'],
        'fused': beside + seconds['fusion_net.forward'],
    }


def lab_error(ab: Tensor, exact: Tensor) -> dict[str, float]:
    """Mean and 99th percentile over pixels of the distance between two ab (N, 2, S, S), in Lab units."""
    distance = (ab.float() - exact.float()).mul(AB_RANGE).norm(dim=1).flatten()
    # `torch.quantile` is limited to 16 million values.
    return {'mean': distance.mean().item(), 'p99': float(np.quantile(distance.cpu().numpy(), 0.99))}


def random_checkpoint(path: Path, width: float, size: int) -> Path:
    """Writes random weights of all three networks whose features neither die nor grow, and whose colours vary."""
    trunk = {'type': 'ColorizationBackbone', 'width': width}
    with torch.device('meta'):  # its own initialization takes longer than this one
        model = InstColorizer(trunk, trunk, {'type': 'FusionNetwork', 'width': width})
    model.to_empty(device='cpu')
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim > 1:
            value.normal_(std=(1.6 / value[0].numel()) ** 0.5, generator=generator)
        else:
            # Of batch norms: scale and variance 1, shift and mean 0.
            scale = name.endswith('.running_var') or (name.endswith('.weight') and value.ndim == 1)
            value.fill_(1 if scale else 0)
    save_checkpoint(model.state_dict(), path, metadata={'input_size': str(size)})
    return path


def random_boxes(size: tuple[int, int], count: int) -> Boxes:
    """Boxes with sides of a tenth to a half of a photo of (height, width), the same at every call."""
    generator = np.random.default_rng(0)
    extent = np.array(size[::-1])
    sides = generator.uniform(0.1, 0.5, (count, 2)) * extent
    start = generator.uniform(0, 1, (count, 2)) * (extent - sides)
    return np.hstack([start, start + sides]).round(1).tolist()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next((line.split(':')[1].strip() for line in _lines('/proc/cpuinfo') if line.startswith('model name')), '')
    kilobytes = next((int(line.split()[1]) for line in _lines('/proc/meminfo') if line.startswith('MemTotal')), 0)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    instructions = [name for name, there in torch.cpu.get_capabilities().items() if there and 'bf16' in name]
    return {
        'cpu': cpu or 'unknown',
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'memory_gb': round(kilobytes * 1024 / 1e9, 1),
        'bf16_instructions': sorted(instructions),
        'gpu': gpu,
        'torch': torch.__version__,
        'python': sys.version.split()[0],
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []
