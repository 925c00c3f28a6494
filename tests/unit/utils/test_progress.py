import io
import sys

import pytest

from insta_colorization.utils import progress


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    return now


def test_without_a_terminal_a_line_a_minute(clock, capsys):
    with progress.progress_bar() as tell:
        for done in range(1, 501):
            clock[0] += 1.0
            tell(done, 500)

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 8
    assert lines[0] == '60 of 500 photos, 1.0 a second, about 7 min left'
    assert lines[-1] == '480 of 500 photos, 1.0 a second, about 0 min left'


def test_before_the_first_photo_nobody_knows_how_long_it_takes(clock, capsys):
    with progress.progress_bar() as tell:
        clock[0] = 100
        tell(0, 500)

    assert capsys.readouterr().err == '0 of 500 photos\n'


def test_a_short_run_and_one_that_shall_be_silent_say_nothing(clock, capsys):
    with progress.progress_bar() as tell:
        tell(1, 2)
        clock[0] = 100
        tell(2, 2)
    with progress.progress_bar(wanted=False) as tell:
        clock[0] = 1000
        tell(3, 9)

    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize(('widgets', 'lines'), [(True, 0), (False, 1)])
def test_a_notebook_has_a_bar_where_it_can_show_one(clock, capsys, monkeypatch, widgets, lines):
    monkeypatch.setattr('rich.console._is_jupyter', lambda: True)
    monkeypatch.setattr(progress, 'find_spec', lambda name: widgets or None)
    shown = []
    monkeypatch.setattr('rich.progress.Progress.start', lambda self: shown.append(self.console.is_jupyter))
    monkeypatch.setattr('rich.progress.Progress.stop', lambda self: None)

    with progress.progress_bar() as tell:
        clock[0] = 61
        tell(1, 3)

    assert len(capsys.readouterr().err.splitlines()) == lines
    assert shown == ([True] if widgets else [])


def test_a_terminal_has_a_bar(clock, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', stream)
    monkeypatch.setenv('TERM', 'xterm')

    with progress.progress_bar() as tell:
        tell(1, 3)

    assert 'photos' in stream.getvalue()
