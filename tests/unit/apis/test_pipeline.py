"""The steps here are stand-ins; `test_inferencer.py` runs the real ones."""

import errno
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from insta_colorization.apis.jobs import Job
from insta_colorization.apis.pipeline import Failures, Prepared, Steps, batches, convey
from insta_colorization.imaging.photo import ImageWriteError, Photo
from insta_colorization.structures import ColorizationSample, Instances
from insta_colorization.utils.options import PaceOptions

PATIENCE = 20
PHOTO = Photo.from_array(np.zeros((4, 4), np.uint8))


def jobs(count: int) -> list[Job]:
    return [Job(Path(f'{number}.png'), None, str(number)) for number in range(count)]


def prepared(crops: int = 0) -> Prepared:
    return Prepared(PHOTO, {'inputs': {'crops': [None] * crops}})


@dataclass
class Log:
    """Steps that write down what they are called with."""

    found: list[list[str]] = field(default_factory=list)
    coloured: list[list[str]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def steps(self, **others) -> Steps:
        own = {
            'read': lambda job, nothing: PHOTO,
            'find': self.find,
            'pack': lambda job, found: prepared(),
            'color': self.color,
            'finish': lambda job, sample: job.name,
        }
        return Steps(**{**own, **others})

    def find(self, photos: list[tuple[Job, Photo]]) -> list[Instances]:
        self.found.append([job.name for job, _ in photos])
        self.threads.add(threading.get_ident())
        return [Instances.empty((4, 4)) for _ in photos]

    def color(self, items: list[tuple[Job, Prepared]]) -> list[ColorizationSample]:
        self.coloured.append([job.name for job, _ in items])
        return [ColorizationSample() for _ in items]


@pytest.mark.parametrize('threads', [0, 1, 3])
@pytest.mark.parametrize(('count', 'batch_size'), [(0, 2), (1, 2), (5, 1), (5, 2), (5, 9)])
def test_every_photo_is_done_in_order_and_in_batches(threads, count, batch_size):
    log = Log()

    done = list(convey(jobs(count), log.steps(), PaceOptions(batch_size=batch_size), threads, Failures(collect=False)))

    names = [str(number) for number in range(count)]
    assert [result for _, result in done] == names
    assert log.found == log.coloured == [names[at : at + batch_size] for at in range(0, count, batch_size)]
    assert len(log.threads) <= 1


def test_reading_and_finishing_go_on_while_the_networks_run():
    first_is_finished, fourth_is_read = threading.Event(), threading.Event()

    def read(job: Job, nothing: None) -> Photo:
        if job.name == '3':
            fourth_is_read.set()
        return PHOTO

    def color(items: list[tuple[Job, Prepared]]) -> list[ColorizationSample]:
        ((job, _),) = items
        if job.name == '1':
            assert fourth_is_read.wait(PATIENCE)
            assert first_is_finished.wait(PATIENCE)
        return [ColorizationSample()]

    def finish(job: Job, sample: ColorizationSample) -> None:
        if job.name == '0':
            first_is_finished.set()

    steps = Log().steps(read=read, color=color, finish=finish)

    assert len(list(convey(jobs(8), steps, PaceOptions(), 2, Failures(collect=False)))) == 8


@pytest.mark.parametrize(
    ('crops', 'pace', 'expected'),
    [
        pytest.param([0] * 5, PaceOptions(batch_size=2), [2, 2, 1], id='batch size alone'),
        pytest.param([4, 4, 4, 4, 4], PaceOptions(batch_size=8, crop_budget=8), [2, 2, 1], id='budget'),
        pytest.param(
            [1, 99, 1, 1], PaceOptions(batch_size=8, crop_budget=8), [1, 1, 2], id='over the budget by itself'
        ),
        pytest.param(
            [8, 0, 0, 1], PaceOptions(batch_size=8, crop_budget=8), [3, 1], id='photos without instances are free'
        ),
        pytest.param([], PaceOptions(batch_size=8), [], id='none'),
    ],
)
def test_a_batch_closes_before_it_has_too_many_crops(crops, pace, expected):
    items = [(job, prepared(count)) for job, count in zip(jobs(len(crops)), crops, strict=True)]

    assert [len(batch) for batch in batches(items, pace)] == expected


@pytest.mark.parametrize('step', ['find', 'color'])
def test_of_a_batch_that_fails_only_the_photo_at_fault_is_lost(step, caplog):
    log, failures = Log(), Failures(collect=True)

    def all_but_one(items: list[tuple[Job, object]]) -> list:
        if '1' in [job.name for job, _ in items]:
            raise ValueError('odd photo')
        return getattr(log, step)(items)

    done = list(convey(jobs(4), log.steps(**{step: all_but_one}), PaceOptions(batch_size=4), 2, failures))

    assert [job.name for job, _ in done] == ['0', '2', '3']
    assert list(failures.reasons.values()) == ['1: odd photo']
    assert 'a batch of 4 photos failed and is done one by one: odd photo' in caplog.text


@pytest.mark.parametrize('threads', [0, 2])
def test_a_full_disk_ends_the_run_at_the_first_photo_that_meets_it(threads):
    written = []

    def write(job: Job, sample: object) -> None:
        written.append(job)
        try:
            raise OSError(errno.ENOSPC, 'No space left on device')
        except OSError as error:
            raise ImageWriteError(f'cannot write {job.name}') from error

    with pytest.raises(ImageWriteError, match='cannot write 0'):
        list(convey(jobs(20), Log().steps(finish=write), PaceOptions(), threads, Failures(collect=True)))

    assert len(written) <= 1 + threads * 2


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'batch_size': 0}, 'batch_size must be at least 1, but got 0'),
        ({'crop_budget': 0}, 'crop_budget must be at least 1, but got 0'),
        ({'workers': -1}, 'workers must be at least 0, but got -1'),
    ],
    ids=['batch_size', 'crop_budget', 'workers'],
)
def test_bad_pace(arguments, message):
    with pytest.raises(ValueError, match=message):
        PaceOptions(**arguments)


@pytest.mark.parametrize(
    ('workers', 'photos', 'expected'), [(None, 1, 0), (7, 1, 0), (7, 2, 7), (0, 9, 0), (None, 9, 4)], ids=str
)
def test_one_photo_needs_no_threads(monkeypatch, workers, photos, expected):
    monkeypatch.setattr('os.cpu_count', lambda: 64)

    assert PaceOptions(workers=workers).threads(photos) == expected
