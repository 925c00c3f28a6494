"""Colours an archive by Ray beside the plain folder run, kills workers, drivers and a node, and looks what is there.

    python tests/archive/campaign.py [--photos N] [--worker-kills N] [--driver-kills N] [--detector NAME]
                                     [--parts pace kills s3 nodes client]

The last line is the summary; the exit status is 1 after any finding: a result that is missing, torn, left over or other
than the plain run's, a photo that failed, memory that grows, or a pace below nine tenths of the plain run's.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from clusters import free_port, node_settings
from faulty_s3 import faulty_s3
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PARTS = ('pace', 'kills', 's3', 'nodes', 'client')
LOWEST_PACE, MOST_GROWTH = 0.9, 1.15
SECONDS_BETWEEN_LOOKS = 0.5
# Seconds in which what a driver started ends after it; some parts of Ray look for it once a minute.
PATIENCE = 120


def make_photos(folder: Path, count: int) -> None:
    """Small grey photos in folders of a hundred, each another part of one."""
    with Image.open(ROOT / 'demo' / 'astronaut.jpg') as opened:
        photo = opened.convert('L')
    generator = np.random.default_rng(0)
    for number in range(count):
        path = folder / f'{number // 100:03d}' / f'{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        x, y = generator.integers(0, (photo.width - 160, photo.height - 120)).tolist()
        photo.crop((x, y, x + 160, y + 120)).save(path, dpi=(300, 300))


def count_of(folder: Path) -> int:
    """How many results there are."""
    return sum(1 for _ in folder.rglob('*.png'))


def names_in(folder: Path) -> set[str]:
    """The files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}


class Memory:
    """Watches what a process and those that it started have together, in MB."""

    def __init__(self, process: int) -> None:
        self.samples: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(psutil.Process(process),))

    def __enter__(self) -> 'Memory':
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self, process: psutil.Process) -> None:
        while not self._ended.wait(2 * SECONDS_BETWEEN_LOOKS):
            with suppress(psutil.Error):
                own = [each.memory_info() for each in (process, *process.children(recursive=True))]
                # What several of them map is counted once for each otherwise.
                self.samples.append(sum(info.rss - info.shared for info in own) / 2**20)

    @property
    def growth(self) -> float:
        """The last quarter as a factor of the second one, when all workers are there."""
        quarter = max(1, len(self.samples) // 4)
        return median(self.samples[-quarter:]) / median(self.samples[quarter : 2 * quarter] or self.samples)


class Campaign:
    """The parts, and what they share.

    Args:
        args: the options.
        folder: for photos and results.

    Attributes:
        figures: what was measured.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.source, self.plain = folder / 'photos', folder / 'plain'
        self.figures: list[str] = []
        self._random = random.Random(args.seed)
        # Marks have the time.
        self._options = ['--marks', 'none', '--batch-size', str(args.batch_size), '--detector', args.detector]
        self._seconds = math.inf

    def prepare(self) -> Iterator[str]:
        """Makes the photos and the plain folder run."""
        make_photos(self.source, self.args.photos)
        # As many threads as a worker's networks have: with others single values are rounded in another way.
        yield from self._run_plain(self.plain, OMP_NUM_THREADS='1')

    def pace(self) -> Iterator[str]:
        """The job on this machine: as fast as the faster of two plain runs, equal, and its memory stays flat."""
        yield from self._run_plain(self.folder / 'plain with all threads')
        target, begin = self.folder / 'pace', time.monotonic()
        with self._job(self.source, target) as process, Memory(process.pid) as memory:
            status = process.wait()
        ratio = self._seconds / (time.monotonic() - begin)
        told = json.loads((target / 'summary.json').read_bytes())
        peak = max(memory.samples)
        self.figures.append(
            f'{self.args.photos / self._seconds:.2f} photos a second plain, {ratio:.2f} of that by Ray with its start, '
            f'{told["done"] / told["duration"]:.2f} a second after the plan, {peak:.0f} MB, growth {memory.growth:.2f}'
        )
        if ratio < LOWEST_PACE:
            yield f'pace: {ratio:.2f} of the plain run'
        if memory.growth > MOST_GROWTH:
            yield f'memory: grows by {memory.growth:.2f}'
        yield from self._compared(target, status)

    def kills(self) -> Iterator[str]:
        """Drivers and workers are killed; the last driver goes on to the end."""
        target = self.folder / 'kills'
        status = yield from self._killed(self.source, target, lambda: count_of(target))
        yield from self._compared(target, status)

    def s3(self) -> Iterator[str]:
        """The same from and to a server of S3 that is slow and answers every ninth time with 503."""
        import boto3

        with faulty_s3() as server:
            os.environ.update(server.environment)
            store = boto3.client('s3')
            for bucket in ('masters', 'access'):
                store.create_bucket(Bucket=bucket)
            for path in self.source.rglob('*.jpg'):
                store.upload_file(str(path), 'masters', path.relative_to(self.source).as_posix())

            def written() -> Iterator[str]:
                for page in store.get_paginator('list_objects_v2').paginate(Bucket='access'):
                    yield from (found['Key'] for found in page.get('Contents', ()))

            status = yield from self._killed(
                's3://masters', 's3://access', lambda: sum(name.endswith('.png') for name in written())
            )
            target = self.folder / 's3'
            for name in written():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                store.download_file('access', name, str(target / name))
        self.figures.append(f'{server.given} answers of 503')
        yield from self._compared(target, status)

    def nodes(self) -> Iterator[str]:
        """A cluster of three nodes, of which one is lost when a third is done."""
        from ray.cluster_utils import Cluster

        target = self.folder / 'nodes'
        cluster = Cluster(initialize_head=True, head_node_args=node_settings(num_cpus=1))
        try:
            nodes = [cluster.add_node(**node_settings(num_cpus=1)) for _ in range(2)]
            with self._job(self.source, target, '--address', 'auto', RAY_ADDRESS=cluster.address) as process:
                while process.poll() is None and count_of(target) < self.args.photos // 3:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                cluster.remove_node(nodes[0], allow_graceful=False)
                status = process.wait()
        finally:
            cluster.shutdown()
        self.figures.append('one of three nodes lost')
        yield from self._compared(target, status)

    def client(self) -> Iterator[str]:
        """From a machine that is no part of the cluster."""
        from ray.cluster_utils import Cluster

        target, port = self.folder / 'client', free_port()
        cluster = Cluster(
            initialize_head=True, head_node_args={**node_settings(num_cpus=1), 'ray_client_server_port': port}
        )
        try:
            options = ('--address', f'ray://127.0.0.1:{port}')
            with self._job(self.source, target, *options, RAY_AUTH_MODE='token') as process:
                status = process.wait()
        finally:
            cluster.shutdown()
        self.figures.append('sent to a cluster')
        yield from self._compared(target, status)

    def _run_plain(self, out: Path, **environment: str) -> Iterator[str]:
        demo = ['demo/colorization_demo.py', '--img', self.source, '--recursive', '--json', '--out-dir', out]
        begin = time.monotonic()
        with self._started(demo, **environment) as process:
            status = process.wait()
        self._seconds = min(self._seconds, time.monotonic() - begin)
        if status:
            yield f'the plain run ended with {status}'

    @contextmanager
    def _started(self, command: list[object], **environment: str) -> Iterator[subprocess.Popen]:
        words = [sys.executable, '-W', 'ignore', *map(str, command), *self._options]
        with subprocess.Popen(words, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()

    def _job(self, source: object, target: object, *options: str, **environment: str):
        chunk = max(self.args.batch_size, self.args.photos // 100 // self.args.batch_size * self.args.batch_size)
        command = ['tools/colorize_archive.py', source, target, '--chunk', chunk, *options]
        return self._started(command, **environment)

    def _killed(self, source: object, target: object, count: Callable[[], int]) -> Generator[str, None, int]:
        """Runs jobs of which all but the last one are killed; returns the last one's exit status."""
        workers, drivers, killed, begin = self.args.worker_kills, self.args.driver_kills, 0, time.monotonic()
        for run in range(drivers + 1):
            goal = self.args.photos * (run + 1) // (drivers + 1)
            wanted = workers * (run + 1) // (drivers + 1)
            with self._job(source, target) as process:
                while process.poll() is None and (run == drivers or count() < goal):
                    time.sleep(self._random.uniform(0.5, 3))
                    if killed < wanted and count():
                        killed += self._kill_worker(process.pid)
                if run < drivers:
                    started = psutil.Process(process.pid).children(recursive=True)
                    process.kill()
                    left = psutil.wait_procs(started, PATIENCE)[1]
                    yield from (f'{target}: {each.name()} outlives its driver' for each in left)
                status = process.wait()
        where, seconds = Path(str(target)).name, time.monotonic() - begin
        self.figures.append(f'{where}: {killed} workers and {drivers} drivers killed in {seconds:.0f} s')
        return status

    def _kill_worker(self, driver: int) -> int:
        with suppress(psutil.Error):
            workers = [each for each in psutil.Process(driver).children(recursive=True) if 'MapWorker' in each.name()]
            if workers:
                self._random.choice(workers).kill()
                return 1
        return 0

    def _compared(self, target: Path, status: int) -> Iterator[str]:
        """What is other than in the plain run."""
        if status:
            yield f'{target.name}: ended with {status}'
        own, plain = names_in(target) - {'summary.json', 'failures.parquet'}, names_in(self.plain)
        yield from (f'{target.name}: {name} is missing' for name in sorted(plain - own))
        yield from (f'{target.name}: {name} is left over' for name in sorted(own - plain))
        for name in sorted(name for name in own & plain if name.endswith('.png')):
            if (target / name).read_bytes() != (self.plain / name).read_bytes():
                yield f'{target.name}: {name} is another file than in the plain run'


def main() -> int:
    """Runs the parts; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers: Mapping[str, int] = {'photos': 5000, 'worker-kills': 10, 'driver-kills': 5, 'batch-size': 1, 'seed': 0}
    for name, default in numbers.items():
        parser.add_argument(f'--{name}', type=int, default=default, metavar='N', help=f'default: {default}')
    parser.add_argument('--detector', default='none', help='see the demo; default: %(default)s')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS, help='default: all')
    args = parser.parse_args()
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    os.environ.setdefault('RAY_worker_niceness', '0')  # they would yield to all other work of the machine
    begin, findings = time.monotonic(), 0
    with TemporaryDirectory(prefix='archive-') as temporary:
        campaign = Campaign(args, Path(temporary))
        parts: list[Callable[[], Iterator[str]]] = [campaign.prepare, *(getattr(campaign, name) for name in args.parts)]
        for part in parts:
            for finding in part():
                findings += 1
                print(finding, flush=True)
    done = '; '.join([f'{args.photos} photos', *campaign.figures])
    print(f'archive: seed {args.seed}, {done}; in {time.monotonic() - begin:.0f} s: {findings} findings')
    return 1 if findings else 0


if __name__ == '__main__':
    sys.exit(main())
