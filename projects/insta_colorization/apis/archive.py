"""An archive of any size to results: Ray Data hands chunks of photos to workers on one machine or on many.

Only numbers and sentences go through Ray. Photos are read, worked on and written by the workers, so that memory does
not grow with the archive, and what exists in the target is what a run that is repeated goes on from.
"""

import json
import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from tempfile import TemporaryFile
from typing import Any

from insta_colorization.fileio.files import sweep, temporary_folder
from insta_colorization.fileio.stores import Folder
from insta_colorization.utils.errors import printable, sentence
from insta_colorization.utils.options import ArchiveOptions, ColourOptions, PaceOptions, ResultOptions
from insta_colorization.utils.progress import progress_bar

from .archive_plan import Clerk, Plan, Refused
from .archive_tasks import ColorTask
from .archive_work import Report, Task, Worker, ray_data

logger = logging.getLogger(__name__)

FAILURES, FIGURES, SUMMARY = 'failures.parquet', 'figures.parquet', 'summary.json'
# Few enough that a kill repeats little, and so many of them that millions of photos are some thousands of tasks.
_CHUNKS, _SMALLEST_CHUNK, _LARGEST_CHUNK = 1000, 16, 4096
_OBJECT_STORE_BYTES = 80 * 2**20
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Summary:
    """What became of an archive.

    Attributes:
        photos: how many were named or listed.
        done: how many were coloured, or whatever the task does with them.
        skipped: how many had a result already.
        failed: how many have none, by kind.
        planning: seconds in which the photos were listed and their results named.
        first: seconds from then to the first chunk that was done, which workers start in.
        duration: seconds from the end of the planning to the last chunk.
        stages: processor seconds of each of `Task.stages` for a photo that was done, in one thread.
        cpu: processor seconds of a worker for such a photo, all its threads together.
        chunk: photos that a worker took at a time.
        workers: how many there were at most.
        cpus: processors of each.
        gpus: GPUs of each.
        batch_size: photos that went through the networks at once.
        figures: the means over all photos of what the task measures.
    """

    photos: int
    done: int
    skipped: int
    failed: Mapping[str, int]
    planning: float
    first: float
    duration: float
    stages: Mapping[str, float]
    cpu: float
    chunk: int
    workers: int
    cpus: float
    gpus: float
    batch_size: int
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Photos that were done in a second."""
        return self.done / self.duration if self.duration else 0.0

    @property
    def status(self) -> int:
        """The exit status of a command: 1 with photos that failed, else 0."""
        return min(sum(self.failed.values()), 1)

    def told(self, verb: str, target: str) -> str:
        """A sentence about the run: how many photos were, say, 'coloured', and where the results are."""
        target, failed = printable(target), sum(self.failed.values())
        kinds = ', '.join(f'{count} {kind}' for kind, count in sorted(self.failed.items()))
        kept = f', {self.skipped} skipped (they exist; --overwrite makes them again)' if self.skipped else ''
        table = f' ({kinds}; {target}/{FAILURES})' if failed else ''
        pace = f'{self.duration:.0f} s, {self.rate:.2f} photos a second'
        return f'{self.done} {verb}{kept}, {failed} failed{table}, in {pace}; results are in {target}'


def colorize_archive(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    manifest: str | None = None,
    predictor: Mapping[str, Any] | None = None,
    results: ResultOptions | None = None,
    colour: ColourOptions | None = None,
    pace: PaceOptions | None = None,
    options: ArchiveOptions | None = None,
    boxes: str | os.PathLike[str] | None = None,
) -> Summary:
    """Colours the photos of a folder, or of a list, into another folder; both may be in a store.

    Args:
        source: folder, or address of one; relative entries of the manifest are relative to it.
        target: folder or address of the results, which mirror the folders of the source.
        manifest: file that names the photos, see `read_manifest`; None for all photos below the source.
        predictor: arguments of `Predictor`.
        results: what is written of each photo, besides its record.
        colour: see `ColourOptions`.
        pace: how much a worker does at once.
        options: on which machines.
        boxes: folder, or address of one, of the photos' boxes, see `DetectTask`; None has the detector find them.

    Returns:
        See `run_archive`, which also says what is raised.
    """
    task = ColorTask(
        Folder.at(target),
        predictor or {},
        results or ResultOptions(),
        colour or ColourOptions(),
        pace or PaceOptions(),
        None if boxes is None else Folder.at(boxes),
    )
    return run_archive(source, task, manifest, options)


def run_archive(
    source: str | os.PathLike[str],
    task: Task,
    manifest: str | None = None,
    options: ArchiveOptions | None = None,
    beside: Sequence[Folder] = (),
) -> Summary:
    """Has workers do a task with the photos of a folder, or of a list.

    A result that exists and is whole is kept. Sources are only read.

    Args:
        source: folder, or address of one; relative entries of the manifest are relative to it.
        task: what is done with each photo, and where the results go.
        manifest: file that names the photos, see `read_manifest`; None for all photos below the source.
        options: on which machines.
        beside: further folders that are only read.

    Returns:
        What became of them; the same is written into the target as `SUMMARY`, failures as `FAILURES`, and what was
        measured as `FIGURES`.

    Raises:
        ImportError: Ray, or what a store needs, is not installed.
        OSError: the target cannot be written or is full, or the source cannot be listed.
        ValueError: an argument is out of range, or the target and the source lie in each other.
    """
    options = options or ArchiveOptions()
    suffix, origin = task.suffix, Folder.at(source)
    for folder in (origin, *beside):
        if folder.contains(task.target) or task.target.contains(folder):
            raise ValueError(
                f'the target {task.target.address} and the source {folder.address} lie in each other, but nothing may '
                'be written among the photos; choose another target'
            )
    if options.address.startswith('ray://'):
        return _through_client(origin, task, suffix, manifest, options)
    with _cluster(options):
        return _run(origin, task, suffix, manifest, options)


def _run(origin: Folder, task: Task, suffix: str, manifest: str | None, options: ArchiveOptions) -> Summary:
    """Plans and works, on a machine of the cluster."""
    planning = time.monotonic()
    with temporary_folder() as folder:
        plan = Plan.make(folder / 'plan.sqlite', origin, task.target, suffix, manifest)
        if task.target.path is not None:
            task.target.path.mkdir(parents=True, exist_ok=True)
            sweep(task.target.path)
        # What an earlier run said goes, and a target that cannot be written is met before the first photo.
        failures, figures = _Failures(task.target), _Figures(task)
        total, size = len(plan) + plan.num_refused, options.chunk or chunk_size(len(plan), task.pace.batch_size)
        counted = Report(seconds=dict.fromkeys(task.stages, 0.0))
        workers, begin, first = _num_workers(options), time.monotonic(), 0.0
        with progress_bar() as tell:
            for report in _reports(plan, task, options, workers, size):
                first = first or time.monotonic() - begin
                if report.stop is not None:
                    raise OSError(report.stop)
                counted.add(report)
                failures.add(report.failed)
                figures.add(report.figures)
                tell(counted.done + counted.skipped + failures.kinds.total(), total)
        failures.add(plan.refused())
        if task.target.path is not None:  # what workers that were killed left
            sweep(task.target.path)
        plan.close()
        failures.close()
        figures.close()
    summary = Summary(
        photos=total,
        done=counted.done,
        skipped=counted.skipped,
        failed=dict(failures.kinds),
        planning=begin - planning,
        first=first,
        duration=time.monotonic() - begin,
        stages={stage: seconds / max(1, counted.done) for stage, seconds in counted.seconds.items()},
        cpu=counted.cpu / max(1, counted.done),
        chunk=size,
        workers=workers,
        cpus=options.cpus,
        gpus=options.gpus,
        batch_size=task.pace.batch_size,
        figures=figures.means,
    )
    task.target.write(SUMMARY, (json.dumps(vars(summary), indent=1) + '\n').encode())
    return summary


def _reports(plan: Plan, task: Task, options: ArchiveOptions, workers: int, size: int) -> Iterator[Report]:
    """Has the workers do the photos of a plan; chunks come back in any order."""
    import ray
    from ray.data import ActorPoolStrategy
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    chunks = -(-len(plan) // size)
    if not chunks:
        return
    # The plan is a file of this machine.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    settings: dict[str, Any] = {'max_restarts': -1, 'max_task_retries': -1, 'scheduling_strategy': here}
    clerk = ray.remote(Clerk).options(num_cpus=0, **settings).remote(plan.path, size)
    _quieten()
    # A range would be made by tasks that need a processor, which workers may all have.
    numbers = ray.data.from_items([{'id': index} for index in range(chunks)], override_num_blocks=chunks)
    reports = numbers.map_batches(
        Worker,
        fn_constructor_args=(task, clerk),
        batch_size=1,
        compute=ActorPoolStrategy(min_size=1, max_size=min(workers, chunks)),
        num_cpus=options.cpus,
        num_gpus=options.gpus or None,
    )
    for row in reports.iter_rows():
        yield Report.from_row(row)


def chunk_size(photos: int, batch_size: int) -> int:
    """How many photos a worker takes at a time: whole batches."""
    size = min(max(photos // _CHUNKS, _SMALLEST_CHUNK), _LARGEST_CHUNK)
    return -(-size // batch_size) * batch_size


def _num_workers(options: ArchiveOptions) -> int:
    """How many workers the cluster has room for, or that were asked for."""
    import ray

    if options.actors is not None:
        return options.actors
    have = ray.cluster_resources()
    room = have.get('GPU', 0) / options.gpus if options.gpus else have.get('CPU', 0) / options.cpus
    if int(room) < 1:
        asked = f'{options.gpus:g} GPU' if options.gpus else f'{options.cpus:g} CPU'
        raise ValueError(
            f'a worker needs {asked}, but the cluster has {have.get("CPU", 0):g} CPU and {have.get("GPU", 0):g} GPU'
        )
    return int(room)


def _quieten() -> None:
    """Ray Data shows bars of its own, and tells how it plans."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger('ray.data').setLevel(logging.ERROR)


@contextmanager
def _cluster(options: ArchiveOptions) -> Iterator[None]:
    """Within it Ray is there: started on this machine, or joined."""
    ray = ray_data()
    if ray.is_initialized():  # by the program that calls
        yield
        return
    local = options.address == 'local'
    settings: dict[str, Any] = {}
    if local:
        settings = {'object_store_memory': _OBJECT_STORE_BYTES, 'include_dashboard': False}
        os.environ.setdefault('RAY_BACKEND_LOG_LEVEL', 'fatal')  # its words about restarts, which are expected
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=options.address, log_to_driver=False, logging_level=logging.ERROR, **settings)
    except Exception as error:  # when it does not start it has no type of its own
        ray.shutdown()
        what = 'Ray does not start' if local else f'there is no Ray cluster at {options.address}'
        raise OSError(f'{what}: {" ".join(str(error).split())}') from error
    try:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray's own would end the process without a word
                signal.signal(number, handler)
        yield
    finally:
        ray.shutdown()


def _through_client(origin: Folder, task: Task, suffix: str, manifest: str | None, options: ArchiveOptions) -> Summary:
    """Runs on a cluster that this machine is no part of: all of it is one task there."""
    ray = ray_data()
    try:
        ray.init(options.address, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise OSError(
            f'there is no Ray cluster at {options.address}, or it wants a token (RAY_AUTH_MODE=token and '
            f'RAY_AUTH_TOKEN): {sentence(error)}'
        ) from error
    try:
        there = ray.remote(num_cpus=0, max_retries=0)(_run)
        return ray.get(there.remote(origin, task, suffix, manifest, options))
    except ray.exceptions.RayTaskError as error:
        raise OSError(sentence(error.cause)) from error
    finally:
        ray.shutdown()


class _Table:
    """Rows on their way to a Parquet file of the target, which is there from the beginning, without a row.

    Args:
        target: the folder.
        name: of the file.
        columns: {name: type} as Arrow calls them.
    """

    def __init__(self, target: Folder, name: str, columns: Mapping[str, str]) -> None:
        self._target, self._name, self._columns = target, name, columns
        self._open()
        self.close()
        self._open()

    def _open(self) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        self._file = TemporaryFile()  # noqa: SIM115 `close` closes it
        schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in self._columns.items()])
        self._writer = ParquetWriter(self._file, schema)

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Adds rows."""
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(rows, self._writer.schema))

    def close(self) -> None:
        """Writes the table into the target, whole."""
        self._writer.close()
        self._file.seek(0)
        self._target.write(self._name, self._file.read())
        self._file.close()


class _Failures:
    """The photos that have no result, as a table.

    Attributes:
        kinds: how many there are of each kind.
    """

    def __init__(self, target: Folder) -> None:
        self._table = _Table(target, FAILURES, dict.fromkeys(Refused._fields, 'string'))
        self.kinds = Counter[str]()
        self.close = self._table.close

    def add(self, failures: Iterable[Refused]) -> None:
        """Adds failures and logs them."""
        rest = iter(failures)
        while some := list(islice(rest, _ROWS_AT_ONCE)):
            for failure in some:
                logger.error('failed: %s', failure.reason)
            self.kinds.update(failure.kind for failure in some)
            self._table.write([failure._asdict() for failure in some])


class _Figures:
    """What a task measures, as a table, and its means; nothing of a task that measures nothing."""

    def __init__(self, task: Task) -> None:
        columns = {'photo': 'string', 'coloured': 'string', **dict.fromkeys(task.figures, 'double')}
        self._table = _Table(task.target, FIGURES, columns) if task.figures else None
        self._sums, self._count = dict.fromkeys(task.figures, 0.0), 0

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Adds the figures of photos."""
        if self._table is None or not rows:
            return
        self._table.write(rows)
        self._count += len(rows)
        for name in self._sums:
            self._sums[name] += sum(row[name] for row in rows)

    @property
    def means(self) -> dict[str, float]:
        """Those of all photos; without any there are none."""
        return {name: total / self._count for name, total in self._sums.items()} if self._count else {}

    def close(self) -> None:
        """Writes the table into the target, whole."""
        if self._table is not None:
            self._table.close()
