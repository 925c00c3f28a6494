"""What a worker of an archive's job runs, whatever its task: chunks of a plan, and a report of each."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from insta_colorization.fileio.stores import INSTALL, ChangedError, Folder, StoredFile
from insta_colorization.utils.errors import as_unicode, sentence
from insta_colorization.utils.options import STAGES, PaceOptions

from .archive_plan import Planned, Refused
from .jobs import Job, without_password

if TYPE_CHECKING:
    from .pipeline import Steps

logger = logging.getLogger(__name__)

# A photo whose worker dies this often is given up.
_MOST_DEATHS = 3
_THREADS_OF_A_STORE = 16

T = TypeVar('T')
R = TypeVar('R')


class RequestError(ValueError):
    """What is wished of one photo, or known of it, cannot be used."""


@dataclass
class Report:
    """What became of some photos.

    Attributes:
        done: how many have a result now.
        skipped: how many had a result already.
        failed: those without a result.
        figures: what was measured of each, see `Task.figures`; also of those that were skipped.
        seconds: processor time of each of `Task.stages`, of the threads that ran it, added up over photos.
        cpu: processor time of all that, with what lies between the stages and what the networks' other threads took.
        stop: why no photo can be done at all, as when a disk is full.
    """

    done: int = 0
    skipped: int = 0
    failed: list[Refused] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    cpu: float = 0.0
    stop: str | None = None

    def add(self, other: 'Report') -> None:
        """Counts what another one has as well, all but its failures and figures."""
        self.done += other.done
        self.skipped += other.skipped
        self.cpu += other.cpu
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds

    def fail(self, photo: str, kind: str, reason: str) -> None:
        """Adds a photo that has no result."""
        self.failed.append(Refused(as_unicode(photo), kind, as_unicode(reason)))

    def as_row(self) -> dict[str, list[bytes]]:
        """The only row of a batch; bytes, because Arrow takes no text that is no Unicode."""
        return {'report': [json.dumps(vars(self)).encode()]}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> 'Report':
        """The report of a row."""
        told = json.loads(row['report'])
        told['failed'] = [Refused(*failure) for failure in told['failed']]
        return cls(**told)


class Task:
    """What workers do with photos; it travels to them.

    Attributes:
        target: the folder of the results.
        pace: how much a worker does at once.
        suffix: of the results' names, see `result_name`.
        stages: what a photo goes through, for the times of `Report.seconds`.
        figures: what is measured of each photo, if anything is; their means are told in the end.
    """

    target: Folder
    pace: PaceOptions
    stages: ClassVar[tuple[str, ...]] = STAGES

    @property
    def figures(self) -> tuple[str, ...]:  # noqa: D102
        return ()

    @property
    def suffix(self) -> str:  # noqa: D102
        raise NotImplementedError

    def load(self) -> Any:
        """What a worker needs for all its photos: its networks."""
        raise NotImplementedError

    def do(self, loaded: Any, photos: Sequence[Planned], report: Report) -> None:
        """Does photos that have no whole result yet and publishes each result as soon as it is there.

        Args:
            loaded: from `load`.
            photos: from a plan.
            report: what became of them is added.

        Raises:
            OSError: the target is full, or cannot be written at all.
            ValueError: an argument is out of range.
        """
        raise NotImplementedError


class Worker:
    """What Ray runs: it has loaded what a task needs, and takes chunks of a plan.

    Args:
        task: what is done with them.
        clerk: an actor of `Clerk`.
    """

    def __init__(self, task: Task, clerk: Any) -> None:
        self._task, self._clerk = task, clerk
        self._problem: str | None = None
        try:
            self._loaded = task.load()
        except Exception as error:  # Ray would tell it with the stack of each worker
            self._problem = sentence(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Does the photos of a chunk; the report comes as JSON."""
        (index,) = (int(number) for number in batch['id'])
        if self._problem is not None:
            return Report(stop=self._problem).as_row()
        ray = ray_data()
        photos, again = ray.get(self._clerk.begin.remote(index))
        report, begin = Report(seconds=dict.fromkeys(self._task.stages, 0.0)), time.process_time()
        # Where a worker died, photos go one by one, so that the one that kills is found.
        for group in ([photo] for photo in photos) if again else [photos]:
            if again and ray.get(self._clerk.deaths.remote(group[0].number)) >= _MOST_DEATHS:
                name = without_password(group[0].source)
                report.fail(name, 'crash', f'{name}: its worker died {_MOST_DEATHS} times')
                continue
            try:
                self._task.do(self._loaded, group, report)
            except Exception as error:
                logger.debug('%s', group[0].source, exc_info=error)
                report.stop = sentence(error)
                break
            if again:
                self._clerk.survived.remote(group[0].number)
        self._clerk.end.remote(index)
        report.cpu = time.process_time() - begin
        return report.as_row()


class Watch:
    """Times the steps of photos and tells the kinds of their errors.

    Args:
        report: takes the times, and what failed.
        stages: what each of the five steps counts as.
    """

    def __init__(self, report: Report, stages: Sequence[str]) -> None:
        self._report, self._seconds, self._stages = report, report.seconds, stages
        self._lock = threading.Lock()
        self._kinds: dict[Job, str] = {}

    def around(self, steps: 'Steps') -> 'Steps':
        """The steps, watched."""
        read, find, pack, color, finish = self._stages
        return steps._replace(
            read=self._one(read, steps.read),
            find=self._several(find, steps.find),
            pack=self._one(pack, steps.pack),
            color=self._several(color, steps.color),
            finish=self._one(finish, steps.finish),
        )

    def failed(self, job: Job, reason: str) -> None:
        """Reports a photo that one of the steps could not do."""
        self._report.fail(job.name, self._kinds.get(job, 'other'), reason)

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
            self._kinds.update(dict.fromkeys(jobs, _kind(stage, error)))
            raise
        finally:
            with self._lock:
                self._seconds[stage] += time.thread_time() - begin


def _kind(stage: str, error: Exception) -> str:
    """What the table of failures calls an error: why a file cannot be read, or else the stage that failed."""
    if isinstance(error, ChangedError):
        return 'changed'
    if isinstance(error, RequestError):
        return 'request'
    if stage != 'read':
        return stage
    return next((kind for kind, types in _KINDS_OF_READING.items() if isinstance(error, types)), 'damaged')


_KINDS_OF_READING = {
    'missing': FileNotFoundError,
    'folder': IsADirectoryError,
    'permission': PermissionError,
    'unreachable': OSError,
}


def in_parallel(step: Callable[[T], R], items: Collection[T]) -> list[R]:
    """Asks a store about many photos at once."""
    with ThreadPoolExecutor(_THREADS_OF_A_STORE) as pool:
        return list(pool.map(step, items))


def stored(job: Job) -> StoredFile:
    """The file of a photo of an archive."""
    assert isinstance(job.source, StoredFile)
    return job.source


def ray_data() -> Any:
    """Ray with Ray Data.

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    os.environ.setdefault('RAY_TQDM_PATCH_PRINT', '0')  # else `print` would be Ray's from then on
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f'an archive needs Ray Data ({error}): {INSTALL}') from error
    return ray
