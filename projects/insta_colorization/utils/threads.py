"""Threads that work ahead of whoever asks: results come in order, and only so many items are under way.

Decoding, resizing, drawing and encoding happen in OpenCV, Pillow, libvips and torch, which all let go of Python's lock.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from types import TracebackType
from typing import Self, TypeVar

import torch

T = TypeVar('T')
R = TypeVar('R')


class Workers:
    """A few threads, to be used in a `with` block; leaving it drops what has not begun and waits for what has.

    Args:
        count: how many threads; 0 does everything in the caller's thread at the moment it is asked for.
        torch_threads: how many threads torch may take inside each of these; None for torch's default. Several workers
            that each bring a team of their own wait for one another most of the time.
    """

    def __init__(self, count: int, torch_threads: int | None = 1) -> None:
        self._count = count
        self._torch_threads = torch_threads
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self._count:
            self._pool = ThreadPoolExecutor(self._count, 'photos')
            self._start(self._pool)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Starts all threads at once: torch takes what one thread sets as the default of those that start later."""
        own, ready = torch.get_num_threads(), Barrier(self._count + 1)

        def begin() -> None:
            if self._torch_threads is not None:
                torch.get_num_threads()  # or torch would set this thread up, by the default, at its first real use
                torch.set_num_threads(self._torch_threads)
            ready.wait()

        for _ in range(self._count):
            pool.submit(begin)
        ready.wait()
        torch.set_num_threads(own)

    def map(self, function: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
        """Applies a function to each item, in threads.

        Args:
            function: what to do. Its exception is raised when its result is asked for.
            items: taken one at a time, in the caller's thread.
            ahead: how many items may be under way or done before their result is asked for.

        Yields:
            The results in the order of the items.
        """
        if self._pool is None:
            yield from map(function, items)
            return
        under_way: deque[Future[R]] = deque()
        for item in items:
            under_way.append(self._pool.submit(function, item))
            if len(under_way) > ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
