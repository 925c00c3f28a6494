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

    Both tell how many photos a second there are, a line those of the minute before.

    It moves when what this yields is called with (done, total).
    """
    from rich.console import Console
    from rich.progress import Progress, Task, TextColumn
    from rich.text import Text

    class Speed(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(f'{task.speed:.1f}/s' if task.speed else '')

    console = Console(stderr=True)
    bars = console.is_terminal or (console.is_jupyter and find_spec('ipywidgets') is not None)
    if wanted and not bars:
        yield _lines()
        return
    columns = (*Progress.get_default_columns(), Speed(''))
    with Progress(*columns, console=console, disable=not wanted, transient=True) as progress:
        bar = progress.add_task('photos')
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _lines() -> Callable[[int, int], None]:
    said, counted = time.monotonic(), 0

    def tell(done: int, total: int) -> None:
        nonlocal said, counted
        now = time.monotonic()
        if now - said < _SECONDS_BETWEEN_LINES or done >= total:
            return
        rate = (done - counted) / (now - said)
        said, counted = now, done
        left = f', {rate:.1f} a second, about {(total - done) / rate / 60:.0f} min left' if rate else ''
        print(f'{done} of {total} photos{left}', file=sys.stderr, flush=True)

    return tell
