"""Many photos through read, find, pack, colour and finish: the steps overlap, memory stays bounded, order is kept."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

from insta_colorization.imaging.photo import Photo
from insta_colorization.structures import ColorizationSample, Instances
from insta_colorization.utils.errors import sentence
from insta_colorization.utils.options import PaceOptions
from insta_colorization.utils.threads import Workers

from .jobs import Job

logger = logging.getLogger(__name__)

T = TypeVar('T')
R = TypeVar('R')


@dataclass(frozen=True, eq=False)
class Prepared:
    """A photo on its way to the networks: what was read and what they get."""

    job: Job
    photo: Photo
    data: dict[str, Any]

    @property
    def num_crops(self) -> int:
        """How many crops go through the networks beside the photo."""
        return len(self.data['inputs'].get('crops', ()))


class Read(NamedTuple):
    """A photo that was read."""

    job: Job
    photo: Photo


class Found(NamedTuple):
    """A photo and what was found in it."""

    job: Job
    photo: Photo
    instances: Instances


class Finished(NamedTuple):
    """A photo that is done and what its last step returned."""

    job: Job
    result: Any


class Steps(NamedTuple):
    """What is done with photos.

    Attributes:
        read: reads one; in any thread.
        find: finds the instances of several; always in the same thread.
        pack: makes the networks' data of one; in any thread.
        color: runs the networks on the data of several; in the caller's thread.
        finish: turns one and its sample into a result; in any thread.
    """

    read: Callable[[Job], Photo]
    find: Callable[[list[Photo], list[Job]], list[Instances]]
    pack: Callable[[Job, Photo, Instances], Prepared]
    color: Callable[[list[Prepared]], list[ColorizationSample]]
    finish: Callable[[Prepared, ColorizationSample], Any]


@dataclass
class Failures:
    """Errors of single photos: let through, or turned into the photos' records so that the others go on.

    Attributes:
        collect: whether they are turned into records.
        reasons: one sentence for each photo that failed.
    """

    collect: bool
    reasons: dict[Job, str] = field(default_factory=dict)

    @contextmanager
    def of(self, job: Job) -> Iterator[None]:
        """Within it an error belongs to this photo."""
        try:
            yield
        except ImportError:  # a library that lacks here lacks for every photo
            raise
        except Exception as error:
            if not self.collect:
                raise
            self.reasons[job] = _reason(error, job)
            logger.error('failed: %s', self.reasons[job])
            logger.debug('%s', job.name, exc_info=error)

    def apart(self, function: Callable[[list[T]], list[R]], items: Sequence[T], job_of: Callable[[T], Job]) -> list:
        """Does a step for several photos at once or, if that fails, for one after the other.

        Args:
            function: the step, (K items) -> (K results).
            items: of K photos.
            job_of: the photo behind an item.

        Returns:
            Pairs of item and result, without the photos that failed.
        """
        if len(items) > 1:
            try:
                return list(zip(items, function(list(items)), strict=True))
            except Exception as error:
                if not self.collect:
                    raise
                logger.warning('a batch of %d photos failed and is done one by one: %s', len(items), error)
        pairs = []
        for item in items:
            with self.of(job_of(item)):
                (result,) = function([item])
                pairs.append((item, result))
        return pairs


def convey(
    jobs: Iterable[Job], steps: Steps, pace: PaceOptions, threads: int, failures: Failures
) -> Iterator[Finished]:
    """Takes photos through all steps.

    While the networks colour a batch, the next ones are read, searched and packed, and the last ones are drawn and
    written. About three batches and twice as many photos as there are threads are in memory at a time.

    Args:
        jobs: the photos.
        steps: what is done with them.
        pace: how much at once.
        threads: see `PaceOptions.threads`.
        failures: takes the errors.

    Yields:
        The photos that are done, in order.
    """

    def read(job: Job) -> Read | None:
        with failures.of(job):
            return Read(job, steps.read(job))

    def find(group: list[Read]) -> list[Found]:
        def together(items: list[Read]) -> list[Instances]:
            return steps.find([item.photo for item in items], [item.job for item in items])

        return [Found(item.job, item.photo, instances) for item, instances in failures.apart(together, group, _job)]

    def pack(found: Found) -> Prepared | None:
        with failures.of(found.job):
            return steps.pack(*found)

    def color(batch: list[Prepared]) -> list[tuple[Prepared, ColorizationSample]]:
        return failures.apart(steps.color, batch, _job)

    def finish(pair: tuple[Prepared, ColorizationSample]) -> Finished | None:
        with failures.of(pair[0].job):
            return Finished(pair[0].job, steps.finish(*pair))

    # A detector may keep state between photos, and its own threads are what makes it fast.
    with Workers(threads) as workers, Workers(min(threads, 1), torch_threads=None) as finder:
        photos = filter(None, workers.map(read, jobs, ahead=threads))
        found = chain.from_iterable(finder.map(find, _groups(photos, pace.batch_size), ahead=1))
        prepared = filter(None, workers.map(pack, found, ahead=pace.batch_size))
        coloured = chain.from_iterable(map(color, batches(prepared, pace)))
        yield from filter(None, workers.map(finish, coloured, ahead=threads))


def batches(items: Iterable[Prepared], pace: PaceOptions) -> Iterator[list[Prepared]]:
    """Batches of consecutive photos, see `PaceOptions`."""
    batch: list[Prepared] = []
    crops = 0
    for item in items:
        if batch and crops + item.num_crops > pace.crop_budget:
            yield batch
            batch, crops = [], 0
        batch.append(item)
        crops += item.num_crops
        del item  # or this photo would be kept while the next ones are read
        if len(batch) == pace.batch_size:
            yield batch
            batch, crops = [], 0
    if batch:
        yield batch


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    return iter(lambda: list(islice(iterator, size)), [])


def _job(item: Read | Prepared) -> Job:
    return item.job


def _reason(error: Exception, job: Job) -> str:
    """One sentence that names the photo."""
    text = sentence(error)
    return text if job.name in text else f'{job.name}: {text}'
