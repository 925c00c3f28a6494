"""How far a long command is, for people who watch it and for those who read its log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

_SECONDS_BETWEEN_LINES = 60


@contextmanager
def progress_bar(wanted: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error or in a notebook; where there is neither, as under nohup, a line a minute.

    It moves when what this yields is called with (done, total).
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    bars = console.is_terminal or (console.is_jupyter and find_spec('ipywidgets') is not None)
    if wanted and not bars:
        yield _lines()
        return
    with Progress(console=console, disable=not wanted, transient=True) as progress:
        bar = progress.add_task('photos')
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _lines() -> Callable[[int, int], None]:
    begin = said = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said < _SECONDS_BETWEEN_LINES or done >= total:
            return
        said = now
        left = f', about {(now - begin) / done * (total - done) / 60:.0f} min left' if done else ''
        print(f'{done} of {total} photos{left}', file=sys.stderr, flush=True)

    return tell
