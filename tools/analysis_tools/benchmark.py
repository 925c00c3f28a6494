"""Measures how long colouring photos takes and how much memory it needs.

    python tools/analysis_tools/benchmark.py [CONFIG] [CHECKPOINT] [--instances 0 1 4 8] [--precision fp32 bf16]
    python tools/analysis_tools/benchmark.py --large --folder PHOTOS --out benchmark.json

With a CONFIG alone its networks get random weights: times do not depend on what they are. Without any the shipped
weights are measured. Every case runs in a process of its own, so that nothing else's memory is in the way. Prints a
table, and writes the same as JSON; docs/benchmark.md says what the columns mean.
"""

import argparse
import ctypes
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from insta_colorization.fileio.files import write_whole
from insta_colorization.utils.cli import Command, Parser, add_options, number
from insta_colorization.utils.memory import keep_between_photos
from insta_colorization.utils.options import NetworkOptions, Precision

PHOTO = Path(__file__).resolve().parents[2] / 'demo' / 'astronaut.jpg'
LARGE_SIZE = (4000, 6000)
LARGE_COUNTS = (8, 64)
# MB that a process may use beyond what it uses now and still count as set back.
SLACK = 16
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One way to colour photos.

    Attributes:
        what: 'photo' from its pixels, 'large photo' from file to file, or 'folder'.
        path: the photo or the folder.
        precision: of the networks.
        size: side of the networks' input; None for what the weights are made for.
        instances: how many a photo has, boxes at random; None has the detector find them.
        batch: photos at once.
    """

    what: str
    path: str
    precision: Precision
    size: int | None
    instances: int | None
    batch: int

    def __str__(self) -> str:
        found = 'instances as detected' if self.instances is None else f'{self.instances} instances'
        size = self.size or 'own size'
        return f'{self.what} {Path(self.path).name}, {self.precision}, {size}, {found}, batch of {self.batch}'


@dataclass(frozen=True)
class Setup:
    """What all cases share: whose networks, and where they run."""

    config: str | None
    checkpoint: str | None
    device: str
    threads: int | None
    repeats: int


class GivenBoxes:
    """A detector that has `count` boxes for every photo, the same ones at every call."""

    score_thr = 0.0

    def __init__(self, count: int) -> None:
        generator = np.random.default_rng(0)
        sides = generator.uniform(0.1, 0.5, (count, 2))
        start = generator.uniform(0, 1, (count, 2)) * (1 - sides)
        self._boxes = np.hstack([start, start + sides])

    def detect(self, images: list[np.ndarray], paths: Sequence[str] | None = None) -> list[Any]:
        """The boxes of each photo (H, W, 3), sides of a tenth to a half of its own."""
        from insta_colorization.structures import Instances

        sizes = [(image.shape[0], image.shape[1]) for image in images]
        return [Instances.clipped(self._boxes * ([width, height] * 2), (height, width)) for height, width in sizes]


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('config', nargs='?', help="config, by path or name; default: the shipped weights' own")
    parser.add_argument('checkpoint', nargs='?', help='weights; default: random ones of CONFIG, or the shipped ones')
    text = "sides of the networks' input; default: the weights' own"
    parser.add_argument('--sizes', type=number(int, 1), nargs='+', default=[None], help=text)
    text = 'numbers of instances per photo'
    parser.add_argument('--instances', type=number(int, 0), nargs='+', default=[0, 1, 4, 8], help=text)
    parser.add_argument('--batch-sizes', type=number(int, 1), nargs='+', default=[1, 8], help='photos at once')
    parser.add_argument(
        '--precision', nargs='+', default=['fp32'], choices=('fp32', 'bf16', 'fp16'), help='of networks'
    )
    add_options(parser, NetworkOptions, only=('device',))
    parser.add_argument('--threads', type=number(int, 1), help="of torch; default: torch's own choice")
    parser.add_argument(
        '--repeats', type=number(int, 1), default=5, help='number of runs, of which the median is taken'
    )
    parser.add_argument('--photo', default=str(PHOTO), help='photo to colour; default: the bundled one')
    parser.add_argument('--large', action='store_true', help='colour a photo of 24 megapixels with 8 and 64 instances')
    parser.add_argument('--folder', metavar='DIR', help='colour a folder as the demo would')
    parser.add_argument('--out', type=Path, help='JSON file for the results')


def run(args: argparse.Namespace) -> None:
    """Measures, prints and writes.

    Raises:
        FileNotFoundError: the photo or the folder does not exist.
        ValueError: a size, a precision, the config or the weights cannot be used.
    """
    if args.folder is not None and not Path(args.folder).is_dir():
        raise FileNotFoundError(f'the folder {args.folder} does not exist')
    with TemporaryDirectory() as temporary:
        checkpoint = args.checkpoint
        if args.config is not None and checkpoint is None:
            checkpoint = str(random_weights(args.config, Path(temporary) / 'random.safetensors'))
        setup = Setup(args.config, checkpoint, args.device, args.threads, args.repeats)
        rows = []
        for case in list_cases(args, Path(temporary)):
            print(case, file=sys.stderr, flush=True)
            rows.append({**asdict(case), 'path': Path(case.path).name, **in_own_process(case, setup)})
    print(table(rows))
    if args.out is not None:
        content = {'machine': machine(), 'config': args.config, 'device': args.device, 'rows': rows}
        write_whole(f'{json.dumps(content, indent=1)}\n'.encode(), args.out)
        print(f'wrote {args.out}')


def list_cases(args: argparse.Namespace, temporary: Path) -> list[Case]:
    """What is measured, each case once."""
    ways = product(dict.fromkeys(args.precision), args.sizes, sorted({*args.instances}), args.batch_sizes)
    cases = [Case('photo', args.photo, *way) for way in ways]
    first, size = args.precision[0], args.sizes[0]
    if args.large:
        path = str(enlarged(args.photo, temporary / 'large.jpg'))
        cases += [Case('large photo', path, first, size, count, 1) for count in LARGE_COUNTS]
    if args.folder is not None:
        cases.append(Case('folder', args.folder, first, size, None, max(args.batch_sizes)))
    return cases


def enlarged(photo: str, path: Path) -> Path:
    """Writes a photo at 24 megapixels."""
    import cv2

    from insta_colorization.imaging.photo import load_rgb, write_photo

    write_photo(cv2.resize(load_rgb(photo), LARGE_SIZE[::-1], interpolation=cv2.INTER_CUBIC), path)
    return path


def random_weights(config: str, path: Path) -> Path:
    """Writes random weights of a config's networks, whose features neither die nor grow."""
    import torch

    from insta_colorization.checkpoints import save_checkpoint
    from insta_colorization.registry import build_model
    from insta_colorization.utils.configs import load_config

    cfg = load_config(config)
    model = build_model({**cfg.model, 'losses': {}})
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=(1.6 / parameter[0].numel()) ** 0.5)
    save_checkpoint(model.state_dict(), path, metadata={'input_size': str(cfg.get('input_size', 256))})
    return path


def in_own_process(case: Case, setup: Setup) -> Row:
    """What `measure` finds in a fresh process; nothing if it was killed, as the system does when memory runs out."""
    with ProcessPoolExecutor(1, get_context('spawn')) as pool:
        try:
            return pool.submit(measure, case, setup).result()
        except BrokenProcessPool:
            print(f'left out, because its process was killed, probably for its memory: {case}', file=sys.stderr)
            return {}


def measure(case: Case, setup: Setup) -> Row:
    """Runs a case in this process.

    Returns:
        `photos`, `failed`, `ms` and, of photos in memory, `networks_ms`, both per photo, and `peak_mb` above libraries
        and weights.
    """
    import torch

    from insta_colorization.apis.inferencer import ColorizationInferencer
    from insta_colorization.imaging.photo import load_rgb, write_photo

    if setup.threads is not None:
        torch.set_num_threads(setup.threads)
    keep_between_photos(case.size)
    inferencer = ColorizationInferencer(
        setup.config,
        setup.checkpoint,
        setup.device,
        detector=None if case.instances is None else GivenBoxes(case.instances),
        max_instances=8 if case.instances is None else case.instances,
        precision=case.precision,
        input_size=case.size,
        show_progress=False,
    )

    def finish(result: Any) -> Any:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result

    with TemporaryDirectory() as folder:
        # What is imported at the first photo is no part of a photo's memory.
        small = Path(folder) / 'small.png'
        write_photo(np.zeros((8, 8, 3), np.uint8), small)
        inferencer(str(small), out_dir=Path(folder) / 'small')
        settings: dict[str, Any] = {'batch_size': case.batch, 'overwrite': True, 'on_error': 'collect'}
        if case.what == 'photo':
            inputs: Any = [load_rgb(case.path)] * case.batch
            batch = next(iter(inferencer.preprocess(inputs, case.batch)))
        else:
            inputs = case.path
            settings |= {'out_dir': Path(folder) / 'out', 'recursive': case.what == 'folder'}
        results: list[dict[str, list]] = []
        peak = peak_mb(lambda: results.append(inferencer(inputs, **settings)), inferencer.model)
        states = [record['status'] for record in results[0]['predictions']]
        repeats = setup.repeats if case.what == 'photo' else 1
        row: Row = {'photos': len(states), 'failed': states.count('failed')}
        row['ms'] = timed(lambda: finish(inferencer(inputs, **settings)), repeats) / len(states)
        if case.what == 'photo':
            row['networks_ms'] = timed(lambda: finish(inferencer.forward(batch)), repeats) / len(states)
    return {**row, 'peak_mb': peak}


def timed(function: Callable[[], Any], repeats: int) -> float:
    """Milliseconds that a function takes, the median."""
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        function()
        seconds.append(perf_counter() - start)
    return 1000 * median(seconds)


def peak_mb(run: Callable[[], Any], model: Any) -> float | None:
    """MB that a function needs at most above what is in use when it begins: of the process, or of the model's GPU.

    The kernel's high-water mark of this process (VmHWM) is set back first; None where the kernel does not do that.
    `ru_maxrss` would not do: a child inherits its parent's, and loading may have needed more than the run.
    """
    import torch

    gc.collect()
    device = next(model.parameters()).device
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    # What was freed while loading goes back to the system; else the run would use it unseen.
    ctypes.CDLL(None).malloc_trim(0)
    start = resident_mb()
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')
    known = resident_mb('VmHWM') - start < SLACK
    run()
    return resident_mb('VmHWM') - start if known else None


def resident_mb(field: str = 'VmRSS') -> float:
    """MB of physical memory that this process uses, or with 'VmHWM' has used at most."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f'{field}:')) * 1024 / 1e6


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    names = {'what': '', 'precision': '', 'size': 'own', 'instances': 'detected', 'batch': '', 'photos': '–'}
    figures = {'ms': '.1f', 'networks_ms': '.1f', 'peak_mb': '.0f'}
    lines = [[*names, *figures], ['---'] * (len(names) + len(figures))]
    for row in rows:
        own = ((row.get(name), none) for name, none in names.items())
        measured = (f'{row[name]:{form}}' if row.get(name) is not None else '–' for name, form in figures.items())
        lines.append([*(none if value is None else str(value) for value, none in own), *measured])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def machine() -> Row:
    """What the figures were measured on."""
    import torch

    return {
        'cpu': torch.cpu.get_capabilities().get('cpu_name', 'unknown'),
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        'torch': torch.__version__,
        'python': sys.version.split()[0],
    }


main = Command(__doc__, arguments, run)

if __name__ == '__main__':
    sys.exit(main())
