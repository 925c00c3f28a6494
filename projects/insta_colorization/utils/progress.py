"""How far a long command is, for people who watch it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(wanted: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, if that is a terminal; it moves when what this yields is called with (done, total)."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not (wanted and console.is_terminal), transient=True) as progress:
        bar = progress.add_task('photos')
        yield lambda done, total: progress.update(bar, completed=done, total=total)
