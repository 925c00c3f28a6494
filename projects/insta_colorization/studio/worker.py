"""The inference process, and the queue in front of it.

One job runs at a time. If the process dies, its job fails with `LostError` and a new process is started, so that a
photo that takes all memory affects no other. Nothing here imports torch, which keeps the server itself small.
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
    """The queue is full; the request can be repeated a little later."""


class ReplacedError(Exception):
    """A newer request with the same key has replaced this one in the queue."""


class RefusedError(Exception):
    """The request cannot be fulfilled; the text is written for the user."""


class LostError(Exception):
    """The process that worked on the request has died or took too long; a new one is started."""


class Runner(Protocol):
    """Does one job at a time, in a process of its own."""

    def start(self) -> dict[str, Any]:
        """Starts the process; returns what `Engine.describe` says.

        Raises:
            RefusedError: the engine cannot be built.
            LostError: the process has died.
        """

    def run(self, name: str, args: tuple[Any, ...]) -> Any:
        """Calls a method of the engine.

        Raises:
            RefusedError: the method failed; the text is written for the user.
            LostError: the process has died.
        """

    def stop(self) -> None:
        """Ends the process."""


class EngineProcess:
    """A `Runner` with an `Engine` in a new process.

    Args:
        options: of `Predictor`, by name.
        seconds: how long a job, or the start, may take.
        marks: how results say that they were colourised.
    """

    def __init__(self, options: Mapping[str, Any], seconds: float = 600, marks: MarkOptions | None = None) -> None:
        self._options = dict(options)
        self._seconds = seconds
        self._marks = marks
        self._process: Any = None
        self._connection: Connection | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None if there is no process."""
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
        self._process.kill()  # it has nothing to save, and whoever waits for its answer gets a LostError
        self._process.join()
        self._connection.close()
        self._process = None


def _serve(connection: Connection, options: Mapping[str, Any], marks: MarkOptions | None) -> None:
    """Runs in the process: one job after another, until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends this one
    logging.basicConfig(format='%(message)s')
    with suppress(EOFError, OSError):
        try:
            from insta_colorization.apis.predictor import Predictor

            from .engine import Engine

            engine = Engine(Predictor(**options), marks=marks)
            engine.predictor.detector  # noqa: B018  (built now, so that its errors are reported at the start)
        except Exception as error:
            connection.send(('refused', sentence(error)))
            return
        connection.send(('done', engine.describe()))
        while True:
            name, args = connection.recv()
            connection.send(answer(engine, name, args))


def answer(engine: Any, name: str, args: tuple[Any, ...]) -> tuple[str, Any]:
    """Calls a method of an engine: ('done', its result), or ('refused', a sentence without paths)."""
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
        runner: runs the jobs.
        most_waiting: how many jobs may wait; further ones are refused.

    Attributes:
        about: what `Runner.start` returned.
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
            ValueError: it cannot start; the message says why.
        """
        try:
            self.about = self.runner.start()
        except (RefusedError, LostError) as error:
            raise ValueError(str(error) or 'the inference process ended before it was ready') from None
        self._thread.start()

    def submit(self, name: str, *args: Any, key: Hashable = None) -> 'Future[Any]':
        """Queues a call of a method of the engine.

        Args:
            name: the name of the method.
            args: its arguments.
            key: a waiting job with the same key is replaced and fails with `ReplacedError`.

        Raises:
            BusyError: too many jobs are waiting.
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
        """Ends the runner; waiting jobs fail with `LostError`."""
        with self._changed:
            self._open = False
            self._changed.notify()
        # Without waiting for the running job, whose process is killed.
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
        logger.warning('the inference process has died and is started again')
        self.runner.stop()
        try:
            self.runner.start()
        except (RefusedError, LostError) as error:
            logger.error('the inference process cannot be started again: %s', error)


def _settle(future: 'Future[Any]', error: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
