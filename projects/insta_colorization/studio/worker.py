"""The process that has the networks, and the queue before it.

One job runs at a time. A process that dies answers its job with `LostError` and is replaced by a new one, so that a
photo that takes all memory ends nothing but itself. Nothing here imports torch: the server itself stays small.
"""

import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Hashable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from threading import Condition, Thread
from typing import Any, Protocol

from insta_colorization.utils.errors import sentence
from insta_colorization.utils.options import MarkOptions

logger = logging.getLogger(__name__)

_SECONDS_TO_END = 5


class BusyError(Exception):
    """The queue is full; the same request may be made again a little later."""


class ReplacedError(Exception):
    """A newer request for the same thing has come before this one had its turn."""


class RefusedError(Exception):
    """What was asked for cannot be done; the text is written for the user."""


class LostError(Exception):
    """The process that worked on it has died or took too long; another one takes its place."""


class Runner(Protocol):
    """Does one job at a time, in a process of its own."""

    def start(self) -> dict[str, Any]:
        """Makes it ready; returns what `Engine.describe` says; raises `RefusedError` if it cannot be."""

    def run(self, name: str, args: tuple[Any, ...]) -> Any:
        """Calls a method of the engine.

        Raises:
            RefusedError: it raised something that is the user's to know.
            LostError: its process has died.
        """

    def stop(self) -> None:
        """Ends it."""


class EngineProcess:
    """A `Runner` with an `Engine` in a new process.

    Args:
        options: of `Predictor`, by name.
        seconds: how long a job may take.
        marks: what results say of being coloured.
    """

    def __init__(self, options: Mapping[str, Any], seconds: float = 600, marks: MarkOptions | None = None) -> None:
        self._options = dict(options)
        self._seconds = seconds
        self._marks = marks
        self._process: Any = None
        self._connection: Connection | None = None

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return None if self._process is None else self._process.pid

    def start(self) -> dict[str, Any]:
        """See `Runner`."""
        # A fork would share torch's threads and the server's sockets.
        context = multiprocessing.get_context('spawn')
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._options, self._marks), daemon=True)
        self._process.start()
        theirs.close()
        return self._answer()

    def run(self, name: str, args: tuple[Any, ...]) -> Any:
        """See `Runner`."""
        try:
            assert self._connection is not None
            self._connection.send((name, args))
        except OSError as error:
            raise LostError from error
        return self._answer()

    def _answer(self) -> Any:
        assert self._connection is not None
        try:
            if not self._connection.poll(self._seconds):
                raise LostError
            kind, value = self._connection.recv()
        except (EOFError, OSError) as error:
            raise LostError from error
        if kind == 'refused':
            raise RefusedError(value)
        return value

    def stop(self) -> None:
        """See `Runner`."""
        if self._process is None:
            return
        assert self._connection is not None
        self._process.kill()  # it has nothing to save; whoever waits for its answer is told
        self._process.join()
        self._connection.close()
        self._process = None


def _serve(connection: Connection, options: Mapping[str, Any], marks: MarkOptions | None) -> None:
    """What the process does: one job after the other, until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends this one
    logging.basicConfig(format='%(message)s')
    with suppress(EOFError, OSError):
        try:
            from insta_colorization.apis.predictor import Predictor

            from .engine import Engine

            engine = Engine(Predictor(**options), marks=marks)
            engine.predictor.detector  # noqa: B018  (built now: what is wrong with it is told before anybody waits)
        except Exception as error:
            connection.send(('refused', sentence(error)))
            return
        connection.send(('done', engine.describe()))
        while True:
            name, args = connection.recv()
            connection.send(answer(engine, name, args))


def answer(engine: Any, name: str, args: tuple[Any, ...]) -> tuple[str, Any]:
    """What a method of an engine gives: 'done' and its result, or 'refused' and a sentence that carries no path."""
    try:
        return 'done', getattr(engine, name)(*args)
    except OSError as error:
        # One of the system's names a path; one without a number is ours, and written for the user.
        return 'refused', f'a file cannot be used: {error.strerror}' if error.strerror else sentence(error)
    except ValueError as error:
        return 'refused', sentence(error)
    except Exception:
        logger.exception('%s failed', name)
        return 'refused', 'this cannot be done because of a mistake in the studio; its log has more'


@dataclass(eq=False)
class _Job:
    name: str
    args: tuple[Any, ...]
    key: Hashable
    future: 'Future[Any]' = field(default_factory=Future)


class Worker:
    """A runner behind a queue.

    Args:
        runner: does the jobs.
        most_waiting: how many jobs may wait; one more is refused.

    Attributes:
        about: what `Runner.start` said.
    """

    def __init__(self, runner: Runner, most_waiting: int = 16) -> None:
        self.runner = runner
        self.most_waiting = most_waiting
        self.about: dict[str, Any] = {}
        self._waiting: deque[_Job] = deque()
        self._changed = Condition()
        self._open = True
        self._thread = Thread(target=self._work, name='studio-worker', daemon=True)

    def start(self) -> None:
        """Starts the runner and waits until it is ready.

        Raises:
            ValueError: it cannot be; the text says why.
        """
        try:
            self.about = self.runner.start()
        except (RefusedError, LostError) as error:
            raise ValueError(str(error) or 'the process of the networks ended before it was ready') from None
        self._thread.start()

    def submit(self, name: str, *args: Any, key: Hashable = None) -> 'Future[Any]':
        """Queues a call of a method of the engine.

        Args:
            name: of the method.
            args: its arguments.
            key: a job with the same one that still waits ends with `ReplacedError`.

        Raises:
            BusyError: too many wait.
        """
        job = _Job(name, args, key)
        with self._changed:
            older = next((each for each in self._waiting if key is not None and each.key == key), None)
            if older is not None:
                self._waiting.remove(older)
            elif len(self._waiting) >= self.most_waiting or not self._open:
                raise BusyError
            self._waiting.append(job)
            self._changed.notify()
        if older is not None:
            _settle(older.future, ReplacedError())
        return job.future

    def stop(self) -> None:
        """Ends the runner; jobs that wait end with `LostError`."""
        with self._changed:
            self._open = False
            self._changed.notify()
        # A job that runs is not waited for: its process is ended under it.
        self.runner.stop()
        if self._thread.is_alive():
            self._thread.join(_SECONDS_TO_END)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    break
                job = self._waiting.popleft()
            self._do(job)
        for job in self._waiting:
            _settle(job.future, LostError())

    def _do(self, job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            job.future.set_result(self.runner.run(job.name, job.args))
        except LostError as error:
            job.future.set_exception(error)
            self._restart()
        except Exception as error:
            job.future.set_exception(error)

    def _restart(self) -> None:
        if not self._open:
            return
        logger.warning('the process of the networks has died; another one starts')
        self.runner.stop()
        try:
            self.runner.start()
        except (RefusedError, LostError) as error:
            logger.error('it does not start: %s', error)


def _settle(future: 'Future[Any]', error: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
