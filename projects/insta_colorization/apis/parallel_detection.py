"""Detects the instances of many photos by one or several processes, into one COCO file."""

import argparse
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import cv2
import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, broadcast_object_list, get_dist_info, is_main_process
from rich.console import Console
from rich.progress import track

from insta_colorization.detectors import InstanceDetector, build_detector
from insta_colorization.fileio.files import write_whole
from insta_colorization.fileio.journal import Journal
from insta_colorization.utils.configs import find_config
from insta_colorization.utils.device import resolve_device

from .detection import (
    ListedPhoto,
    PhotoList,
    Selection,
    coco_annotations,
    coco_results,
    detect_photos,
    list_photos,
)

logger = logging.getLogger(__name__)

LOG_EVERY = 100
# Processes wait for the slowest one at the end.
PATIENCE = timedelta(days=7)

T = TypeVar('T')


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
    return cast(T, result)


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
    device = own_device(args.device)
    detector = build_detector(detector_named(args.detector), device, masks=args.masks, score_thr=args.score_thr)
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
    journal: Journal,
    detector: InstanceDetector,
    photos: Sequence[ListedPhoto],
    selection: Selection,
    args: argparse.Namespace,
) -> int:
    """Detects this process's photos into its journal; returns how many failed."""
    failed = 0
    found = detect_photos(detector, photos, selection, args.batch_size, args.max_pixels)
    for photo, record in shown(found, len(photos)):
        if isinstance(record, str):
            failed += 1
            logger.error('failed: %s', record if photo.name in record else f'{photo.path}: {record}')
        else:
            journal.append(record)
    return failed


def merge(args: argparse.Namespace, listed: PhotoList, journal: Journal, info: dict[str, Any]) -> str:
    """Writes one file from what all processes found; returns a sentence about it."""
    records = {record['file_name']: record for record in journal}
    done = [photo for photo in listed.photos if photo.name in records]
    if not done:
        raise ValueError(f'none of the {len(listed.photos)} photos could be used, such as {listed.photos[0].path}')
    if args.results:
        content: Any = coco_results(done, records, listed.categories)
    else:
        content = coco_annotations(done, records, info, listed.categories)
    write_whole(f'{json.dumps(content)}\n'.encode(), args.out)
    journal.remove()
    counts = [len(records[photo.name]['annotations']) for photo in done]
    return f'{args.out}: {sum(counts)} instances in {len(done)} photos, {counts.count(0)} of them without any'


def detect_all(args: argparse.Namespace) -> int:
    """tools/detect_instances.py, in every process alike; returns the number of photos that failed."""
    join(args.launcher)
    if not (is_main_process() or args.debug):
        logging.getLogger('insta_colorization').setLevel(logging.ERROR)
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
    with ExitStack() as stack:
        together(lambda: stack.enter_context(journal))
        # Another run may have finished since.
        together(lambda: check_output(args))
        done = together(lambda: {record['file_name'] for record in journal})
        if done:
            logger.info('%d of %d photos were done before', len(done), len(listed.photos))
        # The first process's word counts: another one may have read while the first one was writing already.
        todo = [[photo for photo in listed.photos if photo.name not in done]]
        broadcast_object_list(todo)
        failed = sum(all_gather_object(detect_share(journal, detector, todo[0][rank::world_size], selection, args)))
        if is_main_process():
            print(f'{merge(args, listed, journal, info)}; {failed} photos failed')
    return failed
