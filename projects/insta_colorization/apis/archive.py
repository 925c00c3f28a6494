"""An archive of any size to results: Ray Data hands chunks of photos to workers on one machine or on many.

Only numbers and sentences go through Ray. Photos are read, coloured and written by the workers, so that memory does not
grow with the archive, and what exists in the target is what a run that is repeated goes on from.
"""

import json
import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from insta_colorization.fileio.files import scratch_folder, sweep, temporary_folder
from insta_colorization.fileio.stores import INSTALL, ChangedError, Folder, StoredFile
from insta_colorization.imaging.photo import is_whole
from insta_colorization.utils.errors import as_unicode, sentence
from insta_colorization.utils.memory import keep_between_photos
from insta_colorization.utils.options import STAGES, ArchiveOptions, ColourOptions, PaceOptions, ResultOptions
from insta_colorization.utils.progress import progress_bar

from .archive_plan import Clerk, Plan, Planned, Refused
from .jobs import Job, checked_suffix, without_password

if TYPE_CHECKING:
    from .pipeline import Steps
    from .predictor import Predictor

logger = logging.getLogger(__name__)

FAILURES, SUMMARY = 'failures.parquet', 'summary.json'
# A photo whose worker dies this often is given up.
_MOST_DEATHS = 3
_THREADS_OF_A_STORE = 16
# Few enough that a kill repeats little, and so many of them that millions of photos are some thousands of tasks.
_CHUNKS, _SMALLEST_CHUNK, _LARGEST_CHUNK = 1000, 16, 4096
_OBJECT_STORE_BYTES = 80 * 2**20
_FAILURES_AT_ONCE = 1000


@dataclass(frozen=True)
class Work:
    """What workers do with photos.

    Attributes:
        target: the folder of the results.
        predictor: arguments of `Predictor`.
        results: what is written; the record of each photo is in any case.
        colour: see `ColourOptions`.
        pace: how much a worker does at once.
    """

    target: Folder
    predictor: Mapping[str, Any]
    results: ResultOptions
    colour: ColourOptions
    pace: PaceOptions


@dataclass
class Report:
    """What became of some photos.

    Attributes:
        done: how many were coloured.
        skipped: how many had a result already.
        failed: those without a result.
        seconds: processor time of each of `STAGES`, of the threads that ran it, added up over photos.
        cpu: processor time of all that, with what lies between the stages and what the networks' other threads took.
        stop: why no photo can be coloured at all, as when a disk is full.
    """

    done: int = 0
    skipped: int = 0
    failed: list[Refused] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    cpu: float = 0.0
    stop: str | None = None

    def add(self, other: 'Report') -> None:
        """Counts what another one has as well, all but its failures."""
        self.done += other.done
        self.skipped += other.skipped
        self.cpu += other.cpu
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds


class Colorist:
    """What a worker runs: it has a predictor, and takes chunks of a plan.

    Args:
        work: see `Work`.
        clerk: an actor of `Clerk`.
    """

    def __init__(self, work: Work, clerk: Any) -> None:
        # torch is for workers alone: neither the driver nor the clerk needs it.
        from .predictor import Predictor

        self._work, self._clerk = work, clerk
        self._problem: str | None = None
        keep_between_photos(work.predictor.get('input_size'))
        try:
            self._predictor = Predictor(**work.predictor)
        except Exception as error:  # Ray would tell it with the stack of each worker
            self._problem = sentence(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Colours the photos of a chunk; the report comes as JSON."""
        (index,) = (int(number) for number in batch['id'])
        if self._problem is not None:
            return _as_row(Report(stop=self._problem))
        ray = _ray()
        photos, again = ray.get(self._clerk.begin.remote(index))
        report, begin = Report(), time.process_time()
        # Where a worker died, photos go one by one, so that the one that kills is found.
        for group in ([photo] for photo in photos) if again else [photos]:
            if again and ray.get(self._clerk.deaths.remote(group[0].number)) >= _MOST_DEATHS:
                name = without_password(group[0].source)
                report.failed.append(Refused(name, 'crash', f'{name}: its worker died {_MOST_DEATHS} times'))
                continue
            try:
                color_chunk(self._predictor, group, self._work, report)
            except Exception as error:
                logger.debug('%s', group[0].source, exc_info=error)
                report.stop = sentence(error)
                break
            if again:
                self._clerk.survived.remote(group[0].number)
        self._clerk.end.remote(index)
        report.cpu = time.process_time() - begin
        return _as_row(report)


def color_chunk(predictor: 'Predictor', photos: Sequence[Planned], work: Work, report: Report) -> None:
    """Colours photos that have no whole result yet and publishes each result as soon as it is there.

    Args:
        predictor: colours them.
        photos: from a plan.
        work: see `Work`.
        report: what became of them is added.

    Raises:
        OSError: the target is full, or cannot be written at all.
        ValueError: an argument is out of range.
    """
    from .album import color_album

    with ThreadPoolExecutor(_THREADS_OF_A_STORE) as pool:
        there = [False] * len(photos)
        if not work.results.overwrite:
            there = list(pool.map(lambda photo: _exists(work.target.file(photo.name)), photos))
    report.skipped += sum(there)
    local = work.target.path
    with temporary_folder() if local is None else scratch_folder(local) as staging:
        jobs = {
            Job(StoredFile(photo.source), staging / photo.name, without_password(photo.source)): photo
            for photo, exists in zip(photos, there, strict=True)
            if not exists
        }
        watch = _Watch(work.target, jobs, report.seconds)
        results = replace(work.results, out_dir=staging, save_json=True)
        outcomes = color_album(predictor, list(jobs), results, work.colour, work.pace, 'collect', around=watch.around)
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome.record['status'] == 'failed':
            name, reason = as_unicode(job.name), as_unicode(outcome.record['reason'])
            report.failed.append(Refused(name, watch.kinds.get(job, 'other'), reason))
        else:
            report.done += 1


class _Watch:
    """Times the steps of photos, tells the kinds of their errors, and publishes what the last step wrote.

    Args:
        target: the folder of the results.
        photos: by their jobs.
        seconds: takes the times of `STAGES`.

    Attributes:
        kinds: of errors, by the photo's job.
    """

    def __init__(self, target: Folder, photos: Mapping[Job, Planned], seconds: dict[str, float]) -> None:
        self._target, self._photos, self._seconds = target, photos, seconds
        self._lock = threading.Lock()
        self.kinds: dict[Job, str] = {}

    def around(self, steps: 'Steps') -> 'Steps':
        """The steps, watched."""

        def finish(job: Job, coloured: Any) -> Any:
            outcome = steps.finish(job, coloured)
            self._publish(job)
            return outcome

        one, several = self._one, self._several
        return steps._replace(
            read=one('read', steps.read),
            find=several('detect', steps.find),
            pack=one('colour', steps.pack),
            color=several('colour', steps.color),
            finish=one('write', finish),
        )

    def _one(self, stage: str, step: Callable[[Job, Any], Any]) -> Callable[[Job, Any], Any]:
        def run(job: Job, value: Any) -> Any:
            with self._watched(stage, [job]):
                return step(job, value)

        return run

    def _several(self, stage: str, step: Callable[[list[Any]], list]) -> Callable[[list[Any]], list]:
        def run(pairs: list[Any]) -> list:
            with self._watched(stage, [job for job, _ in pairs]):
                return step(pairs)

        return run

    @contextmanager
    def _watched(self, stage: str, jobs: Sequence[Job]) -> Iterator[None]:
        begin = time.thread_time()  # by the clock, a stage would also wait for those beside it
        try:
            yield
        except Exception as error:
            self.kinds.update(dict.fromkeys(jobs, _kind(stage, error)))
            raise
        finally:
            with self._lock:
                self._seconds[stage] += time.thread_time() - begin

    def _publish(self, job: Job) -> None:
        """Moves a photo and what belongs to it to the target; the photo itself comes last, see `ResultWriter`."""
        assert isinstance(job.source, StoredFile)
        assert job.target is not None
        job.source.require_same()
        name, written = self._photos[job].name, job.target
        beside = sorted(path for path in written.parent.iterdir() if path.name.startswith(f'{written.name}.'))
        for path in beside:
            own = name + path.name.removeprefix(written.name)
            if own == f'{name}.json':
                told = json.loads(path.read_bytes()) | {
                    'output': as_unicode(self._target.file(name).address),
                    'source': job.source.seen,
                }
                path.write_text(json.dumps(told, indent=1) + '\n')
            self._target.put(own, path)
        self._target.put(name, written)


def _kind(stage: str, error: Exception) -> str:
    """What the table of failures calls an error: why a file cannot be read, or else the stage that failed."""
    if isinstance(error, ChangedError):
        return 'changed'
    if stage != 'read':
        return stage
    return next((kind for kind, types in _KINDS_OF_READING.items() if isinstance(error, types)), 'damaged')


_KINDS_OF_READING = {
    'missing': FileNotFoundError,
    'folder': IsADirectoryError,
    'permission': PermissionError,
    'unreachable': OSError,
}


def _exists(file: StoredFile) -> bool:
    """Whether there is a result that is not empty and ends as its format says."""
    size, head, tail = file.ends()
    return size > 0 and is_whole(size, head, tail)


def _as_row(report: Report) -> dict[str, list[bytes]]:
    """A report as the only row of a batch; bytes, because Arrow takes no text that is no Unicode."""
    return {'report': [json.dumps(vars(report)).encode()]}


def _from_row(row: Mapping[str, Any]) -> Report:
    told = json.loads(row['report'])
    told['failed'] = [Refused(*failure) for failure in told['failed']]
    return Report(**told)


@dataclass(frozen=True)
class Summary:
    """What became of an archive.

    Attributes:
        photos: how many were named or listed.
        done: how many were coloured.
        skipped: how many had a result already.
        failed: how many have none, by kind.
        planning: seconds in which the photos were listed and their results named.
        first: seconds from then to the first chunk that was done, which workers start in.
        duration: seconds from the end of the planning to the last chunk.
        stages: processor seconds of each of `STAGES` for a photo that was coloured, in one thread.
        cpu: processor seconds of a worker for such a photo, all its threads together.
        chunk: photos that a worker took at a time.
        workers: how many there were at most.
        cpus: processors of each.
        gpus: GPUs of each.
        batch_size: photos that went through the networks at once.
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

    @property
    def rate(self) -> float:
        """Photos that were coloured in a second."""
        return self.done / self.duration if self.duration else 0.0


def colorize_archive(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    manifest: str | None = None,
    predictor: Mapping[str, Any] | None = None,
    results: ResultOptions | None = None,
    colour: ColourOptions | None = None,
    pace: PaceOptions | None = None,
    options: ArchiveOptions | None = None,
) -> Summary:
    """Colours the photos of a folder, or of a list, into another folder; both may be in a store.

    A result that exists and is whole is kept. Sources are only read.

    Args:
        source: folder, or address of one; relative entries of the manifest are relative to it.
        target: folder or address of the results, which mirror the folders of the source.
        manifest: file that names the photos, see `read_manifest`; None for all photos below the source.
        predictor: arguments of `Predictor`.
        results: what is written of each photo, besides its record.
        colour: see `ColourOptions`.
        pace: how much a worker does at once.
        options: on which machines.

    Returns:
        What became of them; the same is written into the target as `SUMMARY`, and failures as `FAILURES`.

    Raises:
        ImportError: Ray, or what a store needs, is not installed.
        OSError: the target cannot be written or is full, or the source cannot be listed.
        ValueError: an argument is out of range, or the target and the source lie in each other.
    """
    results, options = results or ResultOptions(), options or ArchiveOptions()
    work = Work(Folder.at(target), predictor or {}, results, colour or ColourOptions(), pace or PaceOptions())
    suffix = checked_suffix(results.suffix)
    origin = Folder.at(source)
    if origin.contains(work.target) or work.target.contains(origin):
        raise ValueError(
            f'the target {work.target.address} and the source {origin.address} lie in each other, but nothing may be '
            'written among the photos; choose another target'
        )
    if options.address.startswith('ray://'):
        return _through_client(origin, work, suffix, manifest, options)
    with _cluster(options):
        return _run(origin, work, suffix, manifest, options)


def _run(origin: Folder, work: Work, suffix: str, manifest: str | None, options: ArchiveOptions) -> Summary:
    """Plans and colours, on a machine of the cluster."""
    planning = time.monotonic()
    with temporary_folder() as folder:
        plan = Plan.make(folder / 'plan.sqlite', origin, work.target, suffix, manifest)
        if work.target.path is not None:
            work.target.path.mkdir(parents=True, exist_ok=True)
            sweep(work.target.path)
        # What an earlier run said goes, and a target that cannot be written is met before the first photo.
        table = _FailureTable(work.target)
        total, size = len(plan) + plan.num_refused, options.chunk or chunk_size(len(plan), work.pace.batch_size)
        counted, kinds = Report(), Counter[str]()
        workers, begin, first = _num_workers(options), time.monotonic(), 0.0
        with progress_bar() as tell:
            for report in _reports(plan, work, options, workers, size):
                first = first or time.monotonic() - begin
                if report.stop is not None:
                    raise OSError(report.stop)
                counted.add(report)
                kinds.update(table.add(report.failed))
                tell(counted.done + counted.skipped + kinds.total(), total)
        kinds.update(table.add(plan.refused()))
        if work.target.path is not None:  # what workers that were killed left
            sweep(work.target.path)
        plan.close()
        table.close()
    stages = {stage: counted.seconds[stage] / max(1, counted.done) for stage in STAGES}
    summary = Summary(
        photos=total,
        done=counted.done,
        skipped=counted.skipped,
        failed=dict(kinds),
        planning=begin - planning,
        first=first,
        duration=time.monotonic() - begin,
        stages=stages,
        cpu=counted.cpu / max(1, counted.done),
        chunk=size,
        workers=workers,
        cpus=options.cpus,
        gpus=options.gpus,
        batch_size=work.pace.batch_size,
    )
    work.target.write(SUMMARY, (json.dumps(vars(summary), indent=1) + '\n').encode())
    return summary


def _reports(plan: Plan, work: Work, options: ArchiveOptions, workers: int, size: int) -> Iterator[Report]:
    """Has the workers colour the photos of a plan; chunks come back in any order."""
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
        Colorist,
        fn_constructor_args=(work, clerk),
        batch_size=1,
        compute=ActorPoolStrategy(min_size=1, max_size=min(workers, chunks)),
        num_cpus=options.cpus,
        num_gpus=options.gpus or None,
    )
    for row in reports.iter_rows():
        yield _from_row(row)


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
    ray = _ray()
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


def _ray() -> Any:
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    os.environ.setdefault('RAY_TQDM_PATCH_PRINT', '0')  # else `print` would be Ray's from then on
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f'an archive needs Ray Data ({error}): {INSTALL}') from error
    return ray


def _through_client(origin: Folder, work: Work, suffix: str, manifest: str | None, options: ArchiveOptions) -> Summary:
    """Runs on a cluster that this machine is no part of: all of it is one task there."""
    ray = _ray()
    try:
        ray.init(options.address, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise OSError(
            f'there is no Ray cluster at {options.address}, or it wants a token (RAY_AUTH_MODE=token and '
            f'RAY_AUTH_TOKEN): {sentence(error)}'
        ) from error
    try:
        there = ray.remote(num_cpus=0, max_retries=0)(_run)
        return ray.get(there.remote(origin, work, suffix, manifest, options))
    except ray.exceptions.RayTaskError as error:
        raise OSError(sentence(error.cause)) from error
    finally:
        ray.shutdown()


class _FailureTable:
    """Failures on their way to a Parquet file of the target, which is there from the beginning, without a row."""

    def __init__(self, target: Folder) -> None:
        self._target = target
        self._open()
        self.close()
        self._open()

    def _open(self) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        self._file = TemporaryFile()  # noqa: SIM115 `close` closes it
        schema = pa.schema([(name, pa.string()) for name in Refused._fields])
        self._writer = ParquetWriter(self._file, schema)

    def add(self, failures: Iterable[Refused]) -> Counter[str]:
        """Adds failures and logs them; returns how many there are of each kind."""
        import pyarrow as pa

        kinds, rest = Counter[str](), iter(failures)
        while some := list(islice(rest, _FAILURES_AT_ONCE)):
            for failure in some:
                logger.error('failed: %s', failure.reason)
            kinds.update(failure.kind for failure in some)
            self._writer.write_table(pa.Table.from_pylist([failure._asdict() for failure in some], self._writer.schema))
        return kinds

    def close(self) -> None:
        """Writes the table into the target, whole."""
        self._writer.close()
        self._file.seek(0)
        self._target.write(FAILURES, self._file.read())
        self._file.close()
