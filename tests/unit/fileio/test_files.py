import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from insta_colorization.fileio.files import disk_is_full, make_folder, open_regular, sweep, write_whole

LEFT = f'.{"0" * 32}.tmp'


class Disk:
    """What of a folder is left after a power cut: flushed contents under flushed names."""

    def __init__(self, monkeypatch) -> None:
        self.contents: dict[int, bytes] = {}
        self.names: dict[Path, dict[str, int]] = {}
        fsync = os.fsync

        def flush(handle: int) -> None:
            fsync(handle)
            path = Path(os.readlink(f'/proc/self/fd/{handle}'))
            if path.is_dir():
                self.names[path] = {each.name: each.stat().st_ino for each in path.iterdir()}
            else:
                self.contents[path.stat().st_ino] = path.read_bytes()

        monkeypatch.setattr(os, 'fsync', flush)

    def after_a_power_cut(self, path: Path) -> bytes | None:
        """What a file holds; b'' if only its name is left, None if nothing is."""
        if not path.exists() or path.stat().st_ino != self.names.get(path.parent, {}).get(path.name):
            return None
        return self.contents.get(path.stat().st_ino, b'')


@pytest.fixture
def disk(monkeypatch) -> Disk:
    return Disk(monkeypatch)


def test_a_power_cut_loses_nothing_that_was_written(tmp_path, disk):
    (tmp_path / 'plain').write_bytes(b'x')
    assert disk.after_a_power_cut(tmp_path / 'plain') is None

    for content in (b'first', b'second'):
        write_whole(content, tmp_path / 'file')

        assert disk.after_a_power_cut(tmp_path / 'file') == content


def test_a_power_cut_at_the_renaming_leaves_no_empty_file(tmp_path, disk, monkeypatch):
    replace, flushed = Path.replace, []

    def cut(part, target):
        flushed.append(disk.contents.get(part.stat().st_ino))
        return replace(part, target)

    monkeypatch.setattr(Path, 'replace', cut)
    write_whole(b'content', tmp_path / 'file')

    assert flushed == [b'content']


def test_new_folders_are_flushed_as_well(tmp_path, disk):
    make_folder(tmp_path / 'a' / 'b')

    assert 'a' in disk.names[tmp_path]
    assert 'b' in disk.names[tmp_path / 'a']
    make_folder(tmp_path / 'a' / 'b')


def test_a_file_system_that_cannot_flush_folders_is_fine(tmp_path, monkeypatch):
    fsync = os.fsync

    def only_files(handle: int) -> None:
        if os.path.isdir(f'/proc/self/fd/{handle}'):
            raise OSError(errno.EINVAL, 'Invalid argument')
        fsync(handle)

    monkeypatch.setattr(os, 'fsync', only_files)
    write_whole(b'x', tmp_path / 'file')

    assert (tmp_path / 'file').read_bytes() == b'x'


class TestSweep:
    @pytest.fixture
    def left(self, tmp_path) -> Path:
        """What a kill a minute ago left of a file."""
        (tmp_path / LEFT).write_bytes(b'half')
        os.utime(tmp_path / LEFT, (time.time() - 60,) * 2)
        return tmp_path / LEFT

    def test_removes_what_a_killed_process_left(self, left):
        sweep(left.parent)

        assert not left.exists()

    def test_leaves_what_is_being_written(self, left):
        with left.open('rb') as writer:
            fcntl.flock(writer, fcntl.LOCK_EX)
            sweep(left.parent)

        assert left.exists()

    def test_leaves_what_was_begun_a_moment_ago(self, left):
        os.utime(left)
        sweep(left.parent)

        assert left.exists()

    def test_leaves_files_of_others(self, tmp_path):
        others = ['.a.tmp', f'{"0" * 32}.tmp', '.hidden', f'.{"0" * 32}.png']
        for name in others:
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (0, 0))
        sweep(tmp_path)

        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)

    def test_of_no_folder(self, tmp_path):
        sweep(tmp_path / 'none')


def test_a_writer_holds_a_lock(tmp_path, monkeypatch):
    replace = Path.replace

    def check(part, target):
        os.utime(part, (0, 0))
        sweep(tmp_path)
        return replace(part, target)

    monkeypatch.setattr(Path, 'replace', check)
    write_whole(b'x', tmp_path / 'file')

    assert [path.name for path in tmp_path.iterdir()] == ['file']


@pytest.mark.parametrize(('number', 'full'), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, False)])
def test_a_full_disk_is_told_through_the_errors_that_it_causes(number, full):
    def write() -> None:
        try:
            raise OSError(number, 'reason')
        except OSError as cause:
            raise ValueError('cannot write') from cause

    with pytest.raises(ValueError, match='cannot write') as raised:
        write()

    assert disk_is_full(raised.value) == full
    assert not disk_is_full(ValueError('x'))


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / 'pipe')

    with pytest.raises(OSError, match='Not a regular file'):
        open_regular(tmp_path / 'pipe')
