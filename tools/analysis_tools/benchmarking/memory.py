"""Memory of this process, or of its GPU, while something runs."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch

# MB that a process may use more between two looks without anything having been done.
SLACK = 16


class Watch:
    """Notes in the background, within a `with` block, how much memory is used while something is counted.

    Args:
        count: how much is done.
        interval: seconds between two looks.
    """

    def __init__(self, count: Callable[[], int], interval: float = 0.1) -> None:
        self.seen: list[tuple[int, float]] = []
        self._count = count
        self._interval = interval
        self._done = Event()
        self._thread = Thread(target=self._look, daemon=True)

    def __enter__(self) -> 'Watch':
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self.seen.append((self._count(), resident_memory()))

    def _look(self) -> None:
        while not self._done.wait(self._interval):
            self.seen.append((self._count(), resident_memory()))

    def split(self, first: int) -> dict[str, float]:
        """Memory until `first` were done and from then on, see `jobs.whole_folder`."""
        before = [memory for count, memory in self.seen if count < first]
        # Where photos failed, so many may never be done.
        after = [memory for count, memory in self.seen if count >= first] or [self.seen[-1][1]]
        return {
            'rss_first': after[0],
            'rss_last': after[-1],
            'peak_first': max(before or after[:1]),
            'peak_rest': max(after),
        }


def peak_memory(run: Callable[[], Any], device: str = 'cpu') -> float:
    """MB that a function needs at most above what is in use when it begins: of the process, or of its GPU.

    The kernel's high-water mark of this process (VmHWM) is set back first; where the kernel does not do that, memory is
    looked at every millisecond. `ru_maxrss` would not do: a child inherits its parent's, and loading may have needed
    more than the run.
    """
    gc.collect()
    if device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    # What was freed while loading goes back to the system; else the run would use it unseen.
    ctypes.CDLL(None).malloc_trim(0)
    start = resident_memory()
    if set_back_peak():
        run()
        return resident_memory('VmHWM') - start
    with Watch(lambda: 0, interval=0.001) as watch:
        run()
    return max(memory for _, memory in watch.seen) - start


def set_back_peak() -> bool:
    """Sets the high-water mark of this process to what it uses now; whether the kernel did."""
    try:
        Path('/proc/self/clear_refs').write_text('5')
    except OSError:
        return False
    return resident_memory('VmHWM') - resident_memory() < SLACK


def resident_memory(field: str = 'VmRSS') -> float:
    """MB of physical memory that this process uses, or with 'VmHWM' has used at most."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f'{field}:')) * 1024 / 1e6
