"""The fusion's kernel in Triton's interpreter, against Equation 1 written out and against `Canvas`.

Whether a kernel is interpreted is settled when triton is imported, so that happens in a process of its own: this file,
run as a script, computes all cases and writes what the kernel makes of them.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from test_fusion import padded_fusion, photo_boxes
from torch import Tensor

from insta_colorization import models
from insta_colorization.models import fusion_kernel
from insta_colorization.models.fusion import Canvas, GradientCanvas, Grid
from insta_colorization.structures import Instances

GRID = (6, 8)
PHOTO = (60, 80)
NHWC = torch.channels_last
needs_triton = pytest.mark.skipif(find_spec('triton') is None, reason='triton is not installed')


class Case(NamedTuple):
    """Boxes in cells, the image of each, and what differs from case to case."""

    boxes: list[list[int]]
    image_index: list[int] | None = None
    images: int = 1
    channels: int = 3
    crop_size: tuple[int, int] = GRID
    spread: float = 2.0
    dtype: torch.dtype = torch.float32
    layout: torch.memory_format | None = NHWC  # None is another one, columns first
    frozen: bool = False  # whether the crops' features do without gradients; these take the interpreter long

    def instances(self) -> Instances:
        index = [0] * len(self.boxes) if self.image_index is None else self.image_index
        boxes = torch.tensor(photo_boxes(*self.boxes)).view(-1, 4)
        return Instances(boxes, torch.tensor([PHOTO] * self.images), image_index=torch.tensor(index, dtype=torch.long))

    def inputs(self) -> list[Tensor]:
        """Feature, image weights, crops, crop weights."""
        generator = torch.Generator().manual_seed(len(self.boxes))

        def random(count: int, channels: int, size: tuple[int, int]) -> Tensor:
            return torch.randn(count, channels, *size, generator=generator)

        def laid_out(value: Tensor) -> Tensor:
            value = value.to(self.dtype)
            return value.mT.contiguous().mT if self.layout is None else value.contiguous(memory_format=self.layout)

        values = [
            laid_out(random(self.images, self.channels, GRID)),
            random(self.images, 1, GRID).mul(self.spread),
            laid_out(random(len(self.boxes), self.channels, self.crop_size)),
            random(len(self.boxes), 1, self.crop_size).mul(self.spread),
        ]
        trained = (True, True, False, True) if self.frozen else (True,) * 4
        return [value.requires_grad_(needed) for value, needed in zip(values, trained, strict=True)]


OVERLAPPING = [[0, 0, 5, 5], [2, 1, 7, 6], [3, 2, 4, 4]]
CASES = {
    'one': Case([[1, 1, 5, 4]]),
    'overlapping': Case(OVERLAPPING),
    'apart': Case([[0, 0, 2, 2], [4, 3, 8, 6]], frozen=True),
    'one-cell': Case([[3, 4, 4, 5], [7, 5, 8, 6]]),
    'whole-image': Case([[0, 0, 8, 6], [0, 0, 8, 6], [3, 3, 5, 5]]),
    'many': Case([[n % 4, n % 3, 5 + n % 3, 4 + n % 2] for n in range(10)], channels=1, frozen=True),
    'images-without-instances': Case(OVERLAPPING, [2, 0, 2], images=4),
    'nchw': Case(OVERLAPPING, layout=torch.contiguous_format),
    'columns-first': Case(OVERLAPPING, layout=None),
    'two-blocks-of-channels': Case(OVERLAPPING[:2], channels=70),
    'small-crops': Case(OVERLAPPING, crop_size=(2, 3)),
    'large-crops': Case(OVERLAPPING, crop_size=(13, 9)),
    'one-cell-crops': Case(OVERLAPPING[:1], crop_size=(1, 1)),
    'large-weights': Case(OVERLAPPING, spread=100.0, frozen=True),
    'bfloat16': Case(OVERLAPPING, dtype=torch.bfloat16),
    'float16': Case(OVERLAPPING, dtype=torch.float16, frozen=True),
}
Blend = Callable[[Tensor, Tensor, Tensor, Tensor, Instances], Tensor]


def kernel(feature: Tensor, image_weights: Tensor, crops: Tensor, crop_weights: Tensor, instances: Instances) -> Tensor:
    return fusion_kernel.blend(feature, image_weights, crops, crop_weights, Grid(instances, GRID))


def padded(feature: Tensor, image_weights: Tensor, crops: Tensor, crop_weights: Tensor, instances: Instances) -> Tensor:
    """Image by image as the published code does it."""
    fused = []
    for image in range(len(feature)):
        mine = instances.image_index == image
        maps = iter(crop_weights[mine].split(1))
        given = SimpleNamespace(
            crop_weight=lambda _, maps=maps: next(maps), image_weight=lambda _, image=image: image_weights[image][None]
        )
        boxes = instances.on_grid(GRID)[mine].tolist()
        fused.append(padded_fusion(given, feature[image][None], crops[mine], boxes) if boxes else feature[image][None])
    return torch.cat(fused)


def on_canvas(
    feature: Tensor, image_weights: Tensor, crops: Tensor, crop_weights: Tensor, instances: Instances
) -> Tensor:
    """Box by box."""
    grid = Grid(instances, GRID)
    canvas = GradientCanvas(grid) if torch.is_grad_enabled() else Canvas(grid)
    maps = [
        F.interpolate(one, size=place.size, mode='bilinear', align_corners=False)[0]
        for one, place in zip(crop_weights.split(1), grid.places, strict=True)
    ]
    canvas.add(crops, maps)
    return canvas.blend(feature, image_weights)


def computed(case: Case, blend: Blend) -> dict[str, Tensor]:
    """The result, the gradients of the sum of its squares, and the result without gradients."""
    inputs = case.inputs()
    out = blend(*inputs, case.instances())
    trained = [value for value in inputs if value.requires_grad]
    grads = torch.autograd.grad(out.float().square().sum(), trained)
    with torch.no_grad():
        streamed = blend(inputs[0].clone(memory_format=torch.preserve_format), *inputs[1:], case.instances())
    return {'out': out.detach(), 'in place': streamed, **{f'gradient {n}': grad for n, grad in enumerate(grads)}}


@pytest.fixture(scope='module')
def interpreted(tmp_path_factory) -> dict[str, dict[str, Tensor]]:
    out = tmp_path_factory.mktemp('kernel') / 'computed.pt'
    run_as_script('interpret', out, TRITON_INTERPRET='1')
    return torch.load(out)


def run_as_script(job: str, out: Path, **env: str) -> None:
    done = subprocess.run(
        [sys.executable, __file__, job, str(out)], env={**os.environ, **env}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@needs_triton
class TestInterpreted:
    @pytest.mark.parametrize('reference', [padded, on_canvas])
    @pytest.mark.parametrize('name', [name for name, case in CASES.items() if case.dtype == torch.float32])
    def test_equals(self, interpreted, name, reference):
        expected = computed(CASES[name], reference)

        assert interpreted[name].keys() == expected.keys()
        for what, value in interpreted[name].items():
            torch.testing.assert_close(value, expected[what], atol=1e-5, rtol=1e-5, msg=lambda m, w=what: f'{w}: {m}')
            # A comparison of zeros would say nothing.
            assert value.abs().max() > 1e-3

    @pytest.mark.parametrize('name', ['bfloat16', 'float16'])
    def test_half_precision_is_rounded_once(self, interpreted, name):
        case = CASES[name]
        exact = [value.detach().float() for value in case.inputs()]
        with torch.no_grad():
            expected = padded(*exact, case.instances())

        for what in ('out', 'in place'):
            value = interpreted[name][what]
            assert value.dtype == case.dtype
            torch.testing.assert_close(value.float(), expected, atol=1e-6, rtol=torch.finfo(case.dtype).eps)

    @pytest.mark.parametrize('name', ['bfloat16', 'float16'])
    def test_half_precision_gradients(self, interpreted, name):
        expected = computed(CASES[name], padded)

        gradients = [what for what in expected if what.startswith('gradient')]
        assert len(gradients) >= 3
        for what in gradients:
            value = interpreted[name][what]
            assert value.dtype == expected[what].dtype
            assert (value - expected[what]).abs().mean() < 0.02 * expected[what].abs().mean()

    def test_cells_that_no_box_covers_pass_bit_by_bit(self, interpreted):
        for name in ('apart', 'images-without-instances', 'bfloat16'):
            case = CASES[name]
            outside = torch.ones(case.images, *GRID, dtype=torch.bool)
            for (x0, y0, x1, y1), image in zip(case.boxes, case.instances().image_index.tolist(), strict=True):
                outside[image, y0:y1, x0:x1] = False
            feature = case.inputs()[0].detach().permute(0, 2, 3, 1)
            for what in ('out', 'in place'):
                fused = interpreted[name][what].permute(0, 2, 3, 1)
                assert torch.equal(fused[outside], feature[outside])

    def test_layouts_are_kept(self, interpreted):
        for name in ('overlapping', 'nchw'):
            for what in ('out', 'in place', 'gradient 0', 'gradient 2'):
                assert interpreted[name][what].is_contiguous(memory_format=CASES[name].layout)


@pytest.mark.slow
@needs_triton
def test_compiles_for_gpus(tmp_path):
    """What the interpreter does not see: types, layouts, registers. No GPU takes part; nothing is run."""
    out = tmp_path / 'compiled.pt'
    run_as_script('compile', out, TRITON_CACHE_DIR=str(tmp_path))

    compiled = torch.load(out)

    assert {name for name, _, _ in compiled} == {'blend', 'gradients', 'crop_gradients'}
    for name, capability, assembly in compiled:
        assert f'.target sm_{capability}' in assembly
        # Neighbouring channels are read sixteen bytes at a time.
        assert 'ld.global.v4.b32' in assembly, (name, capability)


def test_it_is_for_cuda_with_triton(monkeypatch):
    on_cuda = SimpleNamespace(is_cuda=True)
    assert not fusion_kernel.available(torch.zeros(1))
    assert fusion_kernel.available(on_cuda) == (find_spec('triton') is not None)

    monkeypatch.setitem(sys.modules, 'triton', None)
    assert not fusion_kernel.available(on_cuda)


@needs_triton
def test_it_is_not_for_runs_that_must_repeat_to_the_last_bit(monkeypatch):
    monkeypatch.setattr(torch, 'are_deterministic_algorithms_enabled', lambda: True)

    assert not fusion_kernel.available(SimpleNamespace(is_cuda=True))


def test_without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', None)
    monkeypatch.delitem(sys.modules, 'insta_colorization.models.fusion_triton', raising=False)
    monkeypatch.delattr(models, 'fusion_triton', raising=False)

    with pytest.raises(ImportError, match="the fusion's kernel needs triton: pip install triton"):
        kernel(*CASES['one'].inputs(), CASES['one'].instances())


def test_without_instances_nothing_is_launched():
    feature, image_weights, crops, crop_weights = Case([], images=2).inputs()

    assert kernel(feature, image_weights, crops, crop_weights, Case([], images=2).instances()) is feature


@pytest.mark.parametrize(
    ('position', 'value', 'error', 'message'),
    [
        (0, torch.zeros(1, 3, 6, 8).double(), TypeError, 'features must be float32, .* but are torch.float64'),
        (0, torch.zeros(2, 3, 6, 8), ValueError, r'feature must have shape \(1, 3, 6, 8\), but got \(2, 3, 6, 8\)'),
        (
            1,
            torch.zeros(1, 1, 5, 8),
            ValueError,
            r'image_weights must have shape \(1, 1, 6, 8\), but got \(1, 1, 5, 8\)',
        ),
        (2, torch.zeros(2, 3, 6, 8), ValueError, r'crops must have shape \(1, 3, 6, 8\), but got \(2, 3, 6, 8\)'),
        (
            3,
            torch.zeros(1, 1, 3, 4),
            ValueError,
            r'crop_weights must have shape \(1, 1, 6, 8\), but got \(1, 1, 3, 4\)',
        ),
    ],
)
def test_what_does_not_belong_together(position, value, error, message):
    inputs = CASES['one'].inputs()
    inputs[position] = value

    with pytest.raises(error, match=message):
        kernel(*inputs, CASES['one'].instances())


def compiled_only() -> list[tuple[str, int, str]]:
    """Name, compute capability and assembly of what the kernel's calls compile; the launches are left out."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.jit import JITFunction

    compiled = []
    run = JITFunction.run

    def compile_only(self: JITFunction, *args: object, grid: tuple, warmup: bool, **kwargs: object) -> None:
        binary = run(self, *args, grid=grid, warmup=True, **kwargs)
        compiled.append((binary.metadata.name, binary.metadata.target.arch, binary.asm['ptx']))

    JITFunction.run = compile_only
    for capability, dtype in ((80, torch.float16), (90, torch.bfloat16)):
        triton.runtime.driver.set_active(
            SimpleNamespace(
                get_current_device=lambda capability=capability: capability,
                get_current_stream=lambda _: 0,
                get_current_target=lambda capability=capability: GPUTarget('cuda', capability, 32),
            )
        )
        computed(CASES['overlapping']._replace(channels=64, dtype=dtype), kernel)
    return compiled


if __name__ == '__main__':
    job, path = sys.argv[1:]
    torch.save(
        {name: computed(case, kernel) for name, case in CASES.items()} if job == 'interpret' else compiled_only(), path
    )
