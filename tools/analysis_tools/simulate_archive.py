"""Says from measured times how many machines, hours and how much money an archive takes, and what is in the way.

    python tools/analysis_tools/simulate_archive.py TARGET/summary.json [--cores 8] [--price 0.4] [--hours 24]
    python tools/analysis_tools/simulate_archive.py SMALL/summary.json --check LARGE/summary.json

The times are those that tools/colorize_archive.py writes into its target. With --check the model says how long a run
that was measured should have taken, and how far off that is. docs/archives.md has a table.
"""

import argparse
import heapq
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from insta_colorization.utils.cli import Command, Parser, number
from insta_colorization.utils.options import STAGES

SIZES = (10**4, 10**6, 10**8)


@dataclass(frozen=True)
class Times:
    """What a run measured.

    Attributes:
        stages: processor seconds of each of `STAGES` a photo, in one thread.
        cpu: processor seconds a photo, of all threads.
        planning: seconds of the plan a photo, on one machine whatever their number.
        start: seconds until a worker begins.
        cpus: processors of a worker.
        gpus: GPUs of a worker.
    """

    stages: dict[str, float]
    cpu: float
    planning: float
    start: float
    cpus: float
    gpus: float

    @property
    def photo(self) -> float:
        """Seconds of a worker a photo: networks wait for nobody, and all threads share the worker's processors."""
        return max(self._networks, self.cpu / max(1.0, self.cpus))

    @property
    def slowest(self) -> str:
        """The stage that the worker's pace comes from."""
        networks = {stage: self.stages[stage] for stage in ('detect', 'colour')}
        of = networks if self._networks >= self.photo else self.stages
        return max(of, key=lambda stage: of[stage])

    @property
    def _networks(self) -> float:
        return self.stages['detect'] + self.stages['colour']


def read_summary(path: Path) -> dict[str, Any]:
    """A `summary.json`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none, or nothing was coloured.
    """
    from insta_colorization.fileio.entries import read_json

    found = read_json(path, 'summary')
    numbers = ('photos', 'done', 'planning', 'first', 'duration', 'cpu', 'chunk', 'workers', 'cpus', 'gpus')
    known = isinstance(found, dict) and isinstance(found.get('stages'), dict)
    missing = [] if not known else [name for name in numbers if not isinstance(found.get(name), int | float)]
    if not known or missing or not all(isinstance(found['stages'].get(stage), int | float) for stage in STAGES):
        raise ValueError(f'{path} is no summary of an archive: it lacks {", ".join(missing) or "stages"}')
    if not found['done']:
        raise ValueError(f'{path} has no times: 0 of its {found["photos"]} photos were coloured')
    return found


def times_of(summary: dict[str, Any]) -> Times:
    """The times of a photo in a run."""
    stages = {stage: float(summary['stages'][stage]) for stage in STAGES}
    planning = summary['planning'] / summary['photos']
    times = Times(stages, summary['cpu'], planning, 0.0, summary['cpus'], summary['gpus'])
    # The first chunk to be done also waited for its worker.
    start = max(0.0, summary['first'] - times.photo * min(summary['chunk'], summary['done']))
    return replace(times, start=start)


def duration(times: Times, photos: int, workers: int, chunk: int, store: float = math.inf) -> float:
    """Seconds from the end of the planning to the last chunk: each worker that is free takes the next one.

    Args:
        times: of a photo.
        photos: how many.
        workers: how many.
        chunk: photos that one takes at a time.
        store: photos a second that the store gives and takes at most.
    """
    free = [times.start] * min(workers, -(-photos // chunk))
    left = photos
    while left > 0:
        heapq.heapreplace(free, free[0] + min(chunk, left) * times.photo)
        left -= chunk
    return max(*free, times.start + photos / store)


@dataclass(frozen=True)
class Estimate:
    """What an archive takes: machines, hours, the price of a million photos, and what is in the way."""

    photos: int
    machines: int
    hours: float
    price: float
    bottleneck: str


def estimate(times: Times, photos: int, args: argparse.Namespace) -> Estimate:
    """The fewest machines that are done in time, or the most that are allowed.

    Args:
        times: of a photo.
        photos: how many.
        args: the options.
    """
    each = args.gpus / times.gpus if times.gpus else args.cores / times.cpus
    if int(each) < 1:
        raise ValueError(f'a worker takes {times.cpus:g} CPU and {times.gpus:g} GPU, but a machine has fewer')
    planning = times.planning * photos
    time = args.hours * 3600 - planning - times.start
    needed = math.ceil(photos * times.photo / int(each) / time) if time > 0 else args.machines
    machines = min(max(1, needed), args.machines)
    chunk = min(max(photos // 1000, 16), 4096)
    store = args.store or math.inf
    seconds = duration(times, photos, machines * int(each), chunk, store)
    bottleneck = times.slowest
    if planning > seconds:
        bottleneck = 'planning'
    elif photos / store + times.start >= seconds:
        bottleneck = 'store'
    # Workers are taken when the plan is there.
    hours, price = (planning + seconds) / 3600, machines * args.price * seconds / 3600
    return Estimate(photos, machines, hours, price / photos * 10**6, bottleneck)


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('summary', type=Path, help='summary.json of a run')
    parser.add_argument('--cores', type=number(int, 1), default=8, metavar='N', help='processors of a machine')
    parser.add_argument('--gpus', type=number(int, 0), default=1, metavar='N', help='GPUs of one, if workers took any')
    parser.add_argument('--price', type=number(float, 0), default=1.0, help='of a machine for an hour')
    parser.add_argument('--hours', type=number(float, 0.01), default=24.0, help='in which all shall be done')
    parser.add_argument('--machines', type=number(int, 1), default=1000, metavar='N', help='how many there are at most')
    text = 'photos a second that the store gives and takes; default: no limit'
    parser.add_argument('--store', type=number(float, 0.001), metavar='N', help=text)
    parser.add_argument('--check', type=Path, metavar='FILE', help='summary.json of another run; default: none')


def run(args: argparse.Namespace) -> None:
    """Prints the table, or the check."""
    times = times_of(read_summary(args.summary))
    if args.check is not None:
        other = read_summary(args.check)
        expected = duration(times, other['photos'], other['workers'], other['chunk'])
        off = 100 * (expected / other['duration'] - 1)
        print(f'{other["photos"]} photos: {expected:.0f} s expected, {other["duration"]:.0f} s measured, {off:+.1f} %')
        return
    print('| photos | machines | hours | price of a million | in the way |')
    print('| --- | --- | --- | --- | --- |')
    for photos in SIZES:
        found = estimate(times, photos, args)
        print(f'| {photos:,} | {found.machines:,} | {found.hours:.2f} | {found.price:.2f} | {found.bottleneck} |')


main = Command(__doc__, arguments, run, imports=())

if __name__ == '__main__':
    sys.exit(main())
