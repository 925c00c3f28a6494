"""Many photos through read, find, pack, colour and finish: the steps overlap, memory stays bounded, order is kept."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from insta_colorization.fileio.files import disk_is_full
from insta_colorization.imaging.photo import Photo
from insta_colorization.utils.errors import sentence
from insta_colorization.utils.options import PaceOptions
from insta_colorization.utils.threads import Workers

from .jobs import Job

logger = logging.getLogger(__name__)

Pair = tuple[Job, Any]


class Prepared(NamedTuple):
    """A photo on its way to the networks: what was read and what they get."""

    photo: Photo
    data: dict[str, Any]

    @property
    def num_crops(self) -> int:
        """How many crops go through the networks beside the photo."""
        return len(self.data['inputs'].get('crops', ()))


class Steps(NamedTuple):
    """What is done with photos; each step takes the photo's job with what the step before returned.

    Attributes:
        read: reads one, given None; in any thread.
        find: finds the instances of several; always in the same thread.
        pack: makes one `Prepared`, or whatever else goes on; in any thread.
        color: runs the networks on several; in the caller's thread.
        finish: turns one into a result; in any thread.
    """

    read: Callable[[Job, None], Any]
    find: Callable[[list[Pair]], list]
    pack: Callable[[Job, Any], Any]
    color: Callable[[list[Pair]], list]
    finish: Callable[[Job, Any], Any]


def one_unchanged(job: Job, value: Any) -> Any:
    """The `read`, `pack` or `finish` of those who have none: what the step before returned."""
    return value


def all_unchanged(pairs: list[Pair]) -> list:
    """The `find` or `color` of those who have none."""
    return [value for _, value in pairs]


@dataclass
class Failures:
    """Errors of single photos: let through, or turned into the photos' records so that the others go on.

    A library that lacks and a disk that is full end the run in any case.

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
            if not self.collect or disk_is_full(error):  # it would be full for every photo
                raise
            self.reasons[job] = _reason(error, job)
            logger.error('failed: %s', self.reasons[job])
            logger.debug('%s', job.name, exc_info=error)

    def apart(self, step: Callable[[list[Pair]], list], pairs: list[Pair]) -> list[Pair]:
        """Does a step for several photos at once or, if that fails, for one after the other.

        Args:
            step: (K pairs) -> (K results).
            pairs: K photos, each with what the step before returned.

        Returns:
            Each photo with its result, without those that failed.
        """
        if len(pairs) > 1:
            try:
                return [(job, result) for (job, _), result in zip(pairs, step(pairs), strict=True)]
            except Exception as error:
                if not self.collect:
                    raise
                logger.warning('a batch of %d photos failed and is done one by one: %s', len(pairs), error)
        done = []
        for pair in pairs:
            with self.of(pair[0]):
                (result,) = step([pair])
                done.append((pair[0], result))
        return done


def convey(jobs: Iterable[Job], steps: Steps, pace: PaceOptions, threads: int, failures: Failures) -> Iterator[Pair]:
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
        The photos that are done, in order, each with what its last step returned.
    """

    def each(step: Callable[[Job, Any], Any]) -> Callable[[Pair], Pair | None]:
        def run(pair: Pair) -> Pair | None:
            with failures.of(pair[0]):
                return pair[0], step(*pair)

        return run

    # A detector may keep state between photos, and its own threads are what makes it fast.
    with Workers(threads) as workers, Workers(min(threads, 1), torch_threads=None) as finder:
        photos = filter(None, workers.map(each(steps.read), ((job, None) for job in jobs), ahead=threads))
        find = partial(failures.apart, steps.find)
        found = chain.from_iterable(finder.map(find, _groups(photos, pace.batch_size), ahead=1))
        prepared = filter(None, workers.map(each(steps.pack), found, ahead=pace.batch_size))
        coloured = chain.from_iterable(map(partial(failures.apart, steps.color), batches(prepared, pace)))
        yield from filter(None, workers.map(each(steps.finish), coloured, ahead=threads))


def batches(pairs: Iterable[Pair], pace: PaceOptions) -> Iterator[list[Pair]]:
    """Batches of consecutive photos, see `PaceOptions`; what is no `Prepared` has no crops."""
    batch: list[Pair] = []
    crops = 0
    for pair in pairs:
        own = pair[1].num_crops if isinstance(pair[1], Prepared) else 0
        if batch and crops + own > pace.crop_budget:
            yield batch
            batch, crops = [], 0
        batch.append(pair)
        crops += own
        del pair  # or this photo would be kept while the next ones are read
        if len(batch) == pace.batch_size:
            yield batch
            batch, crops = [], 0
    if batch:
        yield batch


def _groups(items: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    iterator = iter(items)
    return iter(lambda: list(islice(iterator, size)), [])


def _reason(error: Exception, job: Job) -> str:
    """One sentence that names the photo."""
    text = sentence(error)
    return text if job.name in text else f'{job.name}: {text}'
