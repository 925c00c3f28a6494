"""Times the stages of colouring a photo and their memory, beside the published way, in one run.

    python tools/analysis_tools/benchmark.py [CONFIG] [CHECKPOINT] [--out-dir work_dirs/benchmark]
    python tools/analysis_tools/benchmark.py --width 0.25 --size 128 --repeats 1        # a quick look

Without CHECKPOINT the weights are random, of the given width: times and memory do not depend on what they are. Writes
benchmark.json, benchmark.md (a section for docs/benchmark.md) and benchmark.png. The exit status is 1 if the two ways
do not agree. docs/benchmark.md says what is measured and how.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from benchmarking.accelerator import STAGE_RECIPES, copy_rate, fusion_bandwidth, matrix_rate, training_rate
from benchmarking.checks import AGREEMENT, LARGE_COUNTS, all_checks
from benchmarking.jobs import run_job
from benchmarking.report import PLOT, check_row, markdown, plot
from benchmarking.rows import rows_of
from benchmarking.subject import (
    BASELINE,
    OURS,
    Boxes,
    Case,
    Setup,
    Subject,
    lab_error,
    machine,
    random_boxes,
    random_checkpoint,
)
from get_flops import costs_by_instances
from PIL import Image
from torch import Tensor

from insta_colorization.detectors.cached import CachedDetector
from insta_colorization.fileio.files import write_whole
from insta_colorization.imaging.photo import load_rgb
from insta_colorization.models.backbones.zhang2017 import STRIDE
from insta_colorization.utils.cli import Parser, run_command
from insta_colorization.utils.device import resolve_device, resolve_precision
from insta_colorization.utils.memory import keep_between_photos

GOLDEN = Path(__file__).resolve().parents[2] / 'tests' / 'golden' / 'insta_coffee.npz'
GOLDEN_SIZE = (400, 600)
LARGE_SIZE = (4000, 6000)
Results = dict[str, Any]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument('config', nargs='?', help="config, by path or name; default: the paper's")
    parser.add_argument('checkpoint', nargs='?', help='weights of all three networks; default: random ones')
    parser.add_argument('--width', type=float, default=1.0, help='of random weights; 1 is the published size')
    parser.add_argument('--size', type=int, default=256, help="side of the networks' input")
    parser.add_argument('--sizes', type=int, nargs='*', help='further sides for the plot; default: half and 3/4 of it')
    parser.add_argument('--instances', type=int, nargs='+', default=[0, 1, 4, 8], help='numbers of instances a photo')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 8], help='photos at once')
    parser.add_argument('--precision', nargs='+', default=['fp32', 'bf16'], help='fp32, bf16, fp16')
    parser.add_argument('--device', default='cpu', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--threads', type=int, help="of torch; default: torch's own choice")
    parser.add_argument('--repeats', type=int, default=5, help='rounds through all cases; the medians count')
    parser.add_argument('--photo', help="default: scikit-image's coffee.png")
    parser.add_argument('--boxes', default='golden', help="of the photo: golden, or what the demo's --boxes takes")
    parser.add_argument('--detector', default='opencv', help='the one that is timed; its boxes are not used')
    parser.add_argument(
        '--baseline', action=argparse.BooleanOptionalAction, default=True, help='measure the published way as well'
    )
    parser.add_argument('--large', action='store_true', help='colour a photo of 24 megapixels with 8 and 64 instances')
    parser.add_argument('--folder', metavar='DIR', help='colour a folder; without CHECKPOINT with the shipped weights')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/benchmark'), help='folder of the results')
    parser.add_argument('--debug', action='store_true', help='show where an error came from')
    args = parser.parse_args(argv)
    if args.sizes is None:
        args.sizes = sorted({max(1, args.size * part // (4 * STRIDE)) * STRIDE for part in (2, 3)})
    wrong = next((size for size in (args.size, *args.sizes) if size < STRIDE or size % STRIDE), None)
    if wrong is not None:
        parser.error(f'sizes must be positive multiples of {STRIDE}, but got {wrong}')
    for name, least in (('instances', 0), ('batch_sizes', 1), ('repeats', 1), ('threads', 1)):
        values = getattr(args, name)
        smallest = min(values) if isinstance(values, list) else values
        if smallest is not None and smallest < least:
            parser.error(f'--{name.replace("_", "-")} must be at least {least}, but got {smallest}')
    if args.width <= 0:
        parser.error(f'--width must be positive, but got {args.width:g}')
    return args


def run(args: argparse.Namespace) -> int:
    """Measures, writes and says what came out; returns the exit status."""
    device = resolve_device(args.device)
    for precision in args.precision:
        resolve_precision(precision, device)
    if args.folder is not None and not Path(args.folder).is_dir():
        raise FileNotFoundError(f'the folder {args.folder} does not exist')
    args.out_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        results = measure(args, device, Path(folder))
    results['checks'] = all_checks(results)
    files = {
        'benchmark.json': (json.dumps(results, indent=1) + '\n').encode(),
        'benchmark.md': markdown(results).encode(),
        PLOT: plot(results),
    }
    for name, data in files.items():
        write_whole(data, args.out_dir / name)
    for name, check in results['checks'].items():
        print(' | '.join(check_row(name, check)))
    print(f'wrote {", ".join(files)} to {args.out_dir}')
    worst = max((row['ab_difference'] for row in results['rows'] if 'ab_difference' in row), default=0)
    # Written so that NaN fails as well.
    if not worst <= AGREEMENT:
        raise ValueError(f'ab differs from the baseline by up to {worst:.1e}, but at most {AGREEMENT:.0e} is allowed')
    return 0


def measure(args: argparse.Namespace, device: str, folder: Path) -> Results:
    """All figures; temporary files go to the folder."""
    photo = args.photo or bundled_photo()
    pixels = load_rgb(photo)
    height, width = pixels.shape[:2]
    wanted = max(args.instances)
    boxes = boxes_of(args.boxes, photo, pixels)
    checkpoint = args.checkpoint
    if checkpoint is None:
        checkpoint = str(random_checkpoint(folder / 'random.safetensors', args.width, args.size))
    enough = boxes[:wanted] + random_boxes((height, width), max(0, wanted - len(boxes)))
    setup = Setup(args.config, checkpoint, photo, enough, device, args.threads, args.detector)

    subject = Subject(setup, args.baseline)
    cases = list_cases(args)
    memory = memory_of_cases(setup, cases)
    cases = [case for case in cases if memory[case] is not None]
    times, outputs = rounds(subject, cases, args.repeats)
    return {
        'machine': machine(),
        'settings': {
            'weights': f'random, all three networks, width {args.width:g}'
            if args.checkpoint is None
            else Path(args.checkpoint).name,
            'config': None if args.config is None else Path(args.config).stem,
            'size': args.size,
            'instances': sorted(args.instances),
            'device': device,
            'repeats': args.repeats,
            'photo': Path(photo).name,
            'photo_size': [height, width],
            'boxes': Path(args.boxes).name,
            'boxes_drawn': max(0, wanted - len(boxes)),
            'detector': type(subject.inferencer.detector).__name__,
        },
        'rows': rows_of(cases, times, memory, outputs),
        'errors': precision_errors(args, setup, outputs, folder),
        'large': large(args, replace(setup, boxes=boxes), pixels, folder) if args.large else {},
        'folder': in_folder(args, setup, folder) if args.folder else None,
        'gpu': gpu_figures(args, subject, device) if device.startswith('cuda') else None,
    }


def bundled_photo() -> str:
    """The photo that the golden boxes belong to.

    Raises:
        ImportError: scikit-image is missing.
    """
    try:
        import skimage
    except ImportError as error:
        raise ImportError('the default photo is part of scikit-image: pip install scikit-image, or --photo') from error
    return str(Path(skimage.__file__).parent / 'data' / 'coffee.png')


def boxes_of(source: str, photo: str, pixels: np.ndarray) -> Boxes:
    """Boxes of a photo (H, W, 3), the best ones first.

    Args:
        source: 'golden' for those that the published code selected in coffee.png, scaled to this photo; else what
            `CachedDetector` takes.
        photo: its file.
        pixels: its pixels.

    Raises:
        FileNotFoundError: there is no such file; the golden one is part of the checkout only.
        ValueError: the file holds no boxes, or none for this photo.
    """
    if source == 'golden':
        if not GOLDEN.is_file():
            raise FileNotFoundError(f'the golden boxes {GOLDEN} do not exist: that needs the checkout; give --boxes')
        scale = np.tile(np.array(pixels.shape[1::-1]) / GOLDEN_SIZE[::-1], 2)
        return (np.load(GOLDEN)['selected_boxes'][::-1] * scale).tolist()
    detector = CachedDetector(source)
    detector.check([photo])
    (found,) = detector.detect([pixels], [photo])
    return found[found.worst_to_best().flip(0)].boxes.tolist()


def list_cases(args: argparse.Namespace) -> list[Case]:
    """What is measured, each once; the plain networks always, because the fusion's own part is a difference to them."""
    most = max(args.instances)
    cases = []
    for count in sorted({0, *args.instances}):
        cases += [Case(BASELINE, 'fp32', 1, count, args.size)]
        cases += [
            Case(OURS, precision, batch, count, args.size) for precision in args.precision for batch in args.batch_sizes
        ]
    for size in args.sizes:
        for precision in args.precision:
            cases += [Case(OURS, precision, 1, count, size) for count in (0, most)]
        cases += [Case(BASELINE, 'fp32', 1, most, size)]
    return [case for case in dict.fromkeys(cases) if args.baseline or case.implementation == OURS]


def memory_of_cases(setup: Setup, cases: Sequence[Case]) -> dict[Case, float | None]:
    """Peak MB of each case, in processes of their own; None where that was killed, which leaves the case out."""
    memory: dict[Case, float | None] = {}
    for case in cases:
        say(f'memory: {title(case)}')
        memory[case] = run_job('memory_of_case', setup, case=asdict(case))
        if memory[case] is None:
            say(f'left out, because its process was killed, probably for its memory: {title(case)}')
    return memory


def rounds(
    subject: Subject, cases: Sequence[Case], repeats: int
) -> tuple[list[dict[Case, dict[str, float]]], dict[Case, Tensor]]:
    """Runs all cases in turn, so that what else the machine does hits all of them.

    Returns:
        For each round the seconds of each case, of its networks and of what lies around; the last ab of each case.
    """
    times, outputs = [], {}
    for number in range(repeats):
        seconds: dict[Case, dict[str, float]] = {}
        detect = subject.detection()
        for case in cases:
            say(f'round {number + 1} of {repeats}: {title(case)}')
            ab, spent = subject.run(case)
            outputs[case] = ab.cpu().clone()
            seconds[case] = {**spent, **subject.surroundings(case, outputs[case][0]), 'detect': detect}
        times.append(seconds)
    return times, outputs


def precision_errors(args: argparse.Namespace, setup: Setup, outputs: Mapping[Case, Tensor], folder: Path) -> Results:
    """bfloat16's error in Lab units: of the weights that were timed, and of the shipped ones.

    Returns:
        `timed` and `shipped` with `mean` and `p99`, as far as measured; `counts`, which of them the check takes: real
        weights rather than random ones; `note`.
    """
    exact = Case(OURS, 'fp32', 1, max(args.instances), args.size)
    half = replace(exact, precision='bf16')
    if half not in outputs or exact not in outputs:
        return {}
    errors: Results = {'timed': lab_error(outputs[half], outputs[exact])}
    if args.checkpoint is not None:
        return {**errors, 'counts': 'timed', 'note': f'{Path(args.checkpoint).name}, {exact.instances} instances'}
    say('bfloat16 error of the shipped weights')
    real = replace(setup, config=None, checkpoint=None, boxes=setup.boxes[: exact.instances])
    inferencer = real.on_boxes(folder, precision='fp32')
    colours = []
    for precision in ('fp32', 'bf16'):
        inferencer.dtype = resolve_precision(precision, setup.device)
        (sample,) = inferencer(setup.photo, return_datasamples=True)['predictions']
        colours.append(sample.pred_ab[None])
    errors['shipped'] = lab_error(colours[1], colours[0])
    timed = errors['timed']
    note = (
        f'the shipped weights, {exact.instances} instances; the random ones: mean {timed["mean"]:.3f}, '
        f'99th percentile {timed["p99"]:.3f}'
    )
    return {**errors, 'counts': 'shipped', 'note': note}


def large(args: argparse.Namespace, setup: Setup, pixels: np.ndarray, folder: Path) -> Results:
    """Colours the photo at 24 megapixels, from file to file, in a process for each number of instances."""
    height, width = LARGE_SIZE
    path = folder / 'large.jpg'
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=92)
    scale = np.tile(np.array([width, height]) / pixels.shape[1::-1], 2)
    found: Results = {}
    for count in LARGE_COUNTS:
        say(f'a photo of {height * width / 1e6:.1f} megapixels with {count} instances')
        boxes = (np.array(setup.boxes).reshape(-1, 4)[:count] * scale).tolist()
        boxes += random_boxes(LARGE_SIZE, count - len(boxes))
        measured = run_job('large_photo', replace(setup, photo=str(path), boxes=boxes), precision=args.precision[0])
        about = {'megapixels': height * width / 1e6, 'precision': args.precision[0]}
        found[str(count)] = None if measured is None else {**about, **measured}
    return found


def in_folder(args: argparse.Namespace, setup: Setup, folder: Path) -> Results:
    """Colours a folder as a user would: with real weights, their recipe's detector, the precision of the machine."""
    say(f'the folder {args.folder}')
    real = setup if args.checkpoint is not None else replace(setup, config=None, checkpoint=None, detector=None)
    return run_job(
        'whole_folder',
        real,
        folder=args.folder,
        out_dir=str(folder / 'coloured'),
        batch_size=max(args.batch_sizes),
        precision='auto',
    )


def gpu_figures(args: argparse.Namespace, subject: Subject, device: str) -> Results:
    """What the GPU's checks need besides the rows."""
    say('rates and training steps')
    model = deepcopy(subject.inferencer.model).cpu()
    macs = costs_by_instances(model, args.size, [max(args.instances)])[max(args.instances)].plain
    torch.cuda.empty_cache()
    training = {stage: training_rate(stage, device, args.width, args.size) for stage in STAGE_RECIPES}
    return {
        'macs_per_photo': macs,
        'macs_per_second': matrix_rate(device),
        'copied_per_second': copy_rate(device),
        'blended_per_second': fusion_bandwidth(device, model.image_net.channels['conv10'], args.size),
        'training': training,
    }


def title(case: Case) -> str:
    """A case in words."""
    return (
        f'{case.implementation}, {case.precision}, {case.instances} instances, batch of {case.batch}, '
        f'{case.size} x {case.size}'
    )


def say(message: str) -> None:
    """Reports progress, on standard error."""
    print(message, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    args = parse_args(argv)
    return run_command(lambda: run(args), debug=args.debug, when_stopped='stopped')


if __name__ == '__main__':
    keep_between_photos()
    sys.exit(main())
