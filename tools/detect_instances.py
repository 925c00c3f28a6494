"""Finds the instances of many photos and writes them as one COCO file.

    python tools/detect_instances.py DETECTOR PHOTO|FOLDER|COCO.json ... --out instances.json

DETECTOR is what the demo's --detector takes (auto, opencv, mmdet, FILE.onnx, an mmdet CONFIG[:CHECKPOINT]) or a config
of this project with a `detector`. A run that was stopped or killed goes on when the command is repeated, also with
another number of processes (tools/dist_detect.sh).
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, broadcast_object_list, get_dist_info, is_main_process
from rich.console import Console
from rich.progress import track

from insta_colorization.apis.detection import (
    ListedPhoto,
    PhotoList,
    Selection,
    coco_annotations,
    coco_results,
    detect_photos,
    list_photos,
)
from insta_colorization.detectors import InstanceDetector, build_detector
from insta_colorization.fileio.files import write_whole
from insta_colorization.fileio.journal import Journal
from insta_colorization.utils.cli import Parser, run_command
from insta_colorization.utils.configs import find_config
from insta_colorization.utils.device import resolve_device

logger = logging.getLogger('insta_colorization.detect_instances')

LOG_EVERY = 100
# Processes wait for the slowest one at the end.
PATIENCE = timedelta(days=7)

T = TypeVar('T')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument('detector', help='auto, opencv, mmdet, FILE.onnx, mmdet CONFIG[:CHECKPOINT], or our config')
    parser.add_argument('images', nargs='+', help='photos, folders, or one COCO .json')
    parser.add_argument('--out', type=Path, required=True, help='.json file to write')
    parser.add_argument('--overwrite', action='store_true', help='replace what is at --out')
    parser.add_argument('--results', action='store_true', help="write COCO results with the ids of the input's .json")
    parser.add_argument('--data-root', type=Path, help='folder of the photos of a .json; default: its own')
    parser.add_argument('--recursive', action='store_true', help='look into sub-folders')
    parser.add_argument('--score-thr', type=float, help="lowest score that is written; default: the detector's own")
    parser.add_argument('--min-size', type=float, default=0.0, help='shortest side that is written, in pixels')
    parser.add_argument('--top-k', type=int, help='the best so many of a photo are written; default: all')
    parser.add_argument('--masks', action='store_true', help='write masks too, if the detector gives any')
    parser.add_argument('--batch-size', type=int, default=1, help='photos that the detector gets at once')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N; auto gives each process its GPU')
    parser.add_argument('--launcher', choices=('none', 'pytorch'), default='none', help='set by dist_detect.sh')
    parser.add_argument('--debug', action='store_true', help='show where an error came from')
    args = parser.parse_args(argv)
    if args.score_thr is not None and not 0 <= args.score_thr <= 1:
        parser.error(f'--score-thr must lie in 0..1, but is {args.score_thr}')
    for name, least in (('min_size', 0), ('top_k', 1), ('batch_size', 1)):
        value = getattr(args, name)
        if value is not None and not value >= least:
            parser.error(f'--{name.replace("_", "-")} must be at least {least}, but is {value}')
    return args


def join(launcher: str) -> None:
    """Joins the processes that torchrun started; they exchange a few words only, so gloo does on any machine."""
    if launcher == 'none':
        return
    # MMEngine's `init_dist` insists on a GPU, even for gloo.
    torch.distributed.init_process_group('gloo', timeout=PATIENCE)
    cv2.setNumThreads(max(1, (os.cpu_count() or 1) // int(os.environ['LOCAL_WORLD_SIZE'])))


def together(step: Callable[[], T]) -> T:
    """Runs a step in every process; if it fails in any, all stop, and the first one that failed says why."""
    result, error = None, None
    try:
        result = step()
    except Exception as failure:
        error = failure
    failed = [rank for rank, fails in enumerate(all_gather_object(error is not None)) if fails]
    if error is not None and failed[0] == get_dist_info()[0]:
        raise error
    if failed:
        raise SystemExit(1)
    return result


def own_device(wanted: str) -> str:
    """The device of this process."""
    device = resolve_device(wanted)
    return f'cuda:{int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()}' if device == 'cuda' else device


def detector_named(text: str) -> Any:
    """The `detector` of one of our configs, by path or name; other texts are for `build_detector` to read."""
    if Path(text).suffix not in ('', '.py'):
        return text
    try:
        path = find_config(text)
    except FileNotFoundError:
        return text
    return Config.fromfile(path, import_custom_modules=False).get('detector', text) if path.suffix == '.py' else text


def build(args: argparse.Namespace, photos: PhotoList) -> InstanceDetector:
    """Builds the detector; one that looks boxes up is told all photos, so that it can say if none is there."""
    detector = build_detector(detector_named(args.detector), own_device(args.device), score_thr=args.score_thr)
    check = getattr(detector, 'check', None)
    if check is not None:
        check([str(photo.path) for photo in photos.photos])
    return detector


def require_same(own: dict[str, Any], first: dict[str, Any]) -> None:
    """Raises `ValueError` if this process would detect in another way than the first one (`auto` can differ)."""
    if own != first:
        raise ValueError(f'the machines detect in different ways: {own} here, but {first} in the first process')


def check_output(args: argparse.Namespace) -> None:
    """Meets, before the first photo, what would keep the last step from writing.

    Raises:
        ValueError: the file has another suffix or exists already, or there are no ids for results.
    """
    if args.out.suffix != '.json':
        raise ValueError(f'--out must name a .json file, but got {args.out}')
    if args.out.exists() and not (args.overwrite and args.out.is_file()):
        raise ValueError(f'{args.out} exists already; --overwrite replaces a file')
    if args.results and not args.images[0].endswith('.json'):
        raise ValueError(f'--results takes the ids of a COCO .json, but the input is {args.images[0]}')


def shown(results: Iterable[T], total: int) -> Iterator[T]:
    """Passes results on and shows how far they are: a bar on a terminal, else a line of the log now and then."""
    console = Console(stderr=True)
    if console.is_terminal and is_main_process():
        yield from track(results, 'photos', total, console=console, transient=True)
        return
    rank, world_size = get_dist_info()
    share = f' (process {rank + 1} of {world_size})' if world_size > 1 else ''
    for number, result in enumerate(results, start=1):
        yield result
        if number % LOG_EVERY == 0:
            logger.info('%d of %d photos%s', number, total, share)


def detect_share(
    journal: Journal, detector: InstanceDetector, photos: Sequence[ListedPhoto], selection: Selection, batch_size: int
) -> int:
    """Detects this process's photos into its journal; returns how many failed."""
    failed = 0
    with journal:
        for photo, record in shown(detect_photos(detector, photos, selection, batch_size), len(photos)):
            if isinstance(record, str):
                failed += 1
                logger.error('failed: %s', record if photo.name in record else f'{photo.path}: {record}')
            else:
                journal.append(record)
    return failed


def merge(args: argparse.Namespace, photos: Sequence[ListedPhoto], journal: Journal, info: dict[str, Any]) -> str:
    """Writes one file from what all processes found; returns a sentence about it."""
    records = {record['file_name']: record for record in journal}
    done = [photo for photo in photos if photo.name in records]
    if not done:
        raise ValueError(f'none of the {len(photos)} photos could be used, such as {photos[0].path}')
    content = coco_results(done, records) if args.results else coco_annotations(done, records, info)
    write_whole(f'{json.dumps(content)}\n'.encode(), args.out)
    journal.remove()
    counts = [len(records[photo.name]['annotations']) for photo in done]
    return f'{args.out}: {sum(counts)} instances in {len(done)} photos, {counts.count(0)} of them without any'


def run(args: argparse.Namespace) -> int:
    """Detects, writes and reports; returns the number of photos that failed."""
    together(lambda: check_output(args))
    listed = together(lambda: list_photos(args.images, args.data_root, args.recursive))
    detector = together(lambda: build(args, listed))
    selection = Selection(detector.score_thr, args.min_size, args.top_k, args.masks)
    info = {'detector': args.detector, 'type': type(detector).__name__, **selection._asdict()}
    everyones = all_gather_object(info)
    together(lambda: require_same(info, everyones[0]))
    rank, world_size = get_dist_info()
    parts = args.out.with_name(f'{args.out.name}.parts')
    journal = Journal(parts, {**info, 'folder': str(listed.folder)}, rank, world_size)
    done = together(lambda: {record['file_name'] for record in journal})
    if done:
        logger.info('%d of %d photos were done before', len(done), len(listed.photos))
    # The first process's word counts: another one may have read while the first one was writing already.
    todo = [[photo for photo in listed.photos if photo.name not in done]]
    broadcast_object_list(todo)
    failed = sum(
        all_gather_object(detect_share(journal, detector, todo[0][rank::world_size], selection, args.batch_size))
    )
    if is_main_process():
        print(f'{merge(args, listed.photos, journal, info)}; {failed} photos failed')
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0, 1 after an error or with photos that failed, 130 when stopped."""
    args = parse_args(argv)

    def command() -> int:
        join(args.launcher)
        level = logging.INFO if is_main_process() else logging.ERROR
        logging.getLogger('insta_colorization').setLevel(logging.DEBUG if args.debug else level)
        return 1 if run(args) else 0

    logging.basicConfig(format='%(message)s')
    return run_command(command, debug=args.debug, when_stopped='stopped; repeat the command to go on')


if __name__ == '__main__':
    sys.exit(main())
