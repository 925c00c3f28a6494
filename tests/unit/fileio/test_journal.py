import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from insta_colorization.fileio.files import disk_is_full
from insta_colorization.fileio.journal import Journal

SETTINGS = {'detector': 'opencv', 'score_thr': 0.4}


def write(folder: Path, *records: object, rank: int = 0, world_size: int = 1) -> Path:
    journal = Journal(folder, SETTINGS, rank, world_size)
    with journal:
        for record in records:
            journal.append(record)
    return journal.own


def test_nothing_is_there_at_first(tmp_path):
    assert list(Journal(tmp_path / 'parts', SETTINGS)) == []
    assert not (tmp_path / 'parts').exists()


@pytest.mark.parametrize('world_size', [1, 2, 3])
def test_records_of_any_number_of_processes_are_found(tmp_path, world_size):
    for rank in range(world_size):
        write(tmp_path, {'photo': rank}, {'photo': rank + 10}, rank=rank, world_size=world_size)

    found = [record['photo'] for record in Journal(tmp_path, SETTINGS, 0, 4)]

    assert sorted(found) == [*range(world_size), *range(10, 10 + world_size)]


def test_a_repeated_run_appends(tmp_path):
    write(tmp_path, 1, 2)
    write(tmp_path, 3)

    assert list(Journal(tmp_path, SETTINGS)) == [1, 2, 3]


@pytest.mark.parametrize('cut', range(1, 12))
def test_a_last_line_that_a_kill_cut_off_is_ignored_and_written_over(tmp_path, cut):
    path = write(tmp_path, {'photo': 1}, {'photo': 2})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert whole.endswith(b'{"photo": 2}\n')

    assert list(Journal(tmp_path, SETTINGS)) == [{'photo': 1}]
    write(tmp_path, {'photo': 3})
    assert list(Journal(tmp_path, SETTINGS)) == [{'photo': 1}, {'photo': 3}]


@pytest.mark.parametrize('left', [0, 1, 10])
def test_settings_that_a_kill_cut_off_are_written_again(tmp_path, left):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:left])

    write(tmp_path, 1)

    assert [json.loads(line) for line in path.read_text().splitlines()] == [SETTINGS, 1]


def test_every_record_is_on_disk_before_the_next_one(tmp_path):
    with Journal(tmp_path, SETTINGS) as journal:
        journal.append('a')
        assert list(Journal(tmp_path, SETTINGS)) == ['a']


def test_other_settings_are_refused(tmp_path):
    path = write(tmp_path, 1)

    with pytest.raises(ValueError, match=r'was made with score_thr 0\.4 instead of 0\.5; ') as refusal:
        list(Journal(tmp_path, {**SETTINGS, 'score_thr': 0.5}))
    assert str(path) in str(refusal.value)
    assert f'delete {tmp_path}' in str(refusal.value)


def test_a_damaged_file_is_named(tmp_path):
    path = write(tmp_path, 1, 2)
    path.write_bytes(path.read_bytes().replace(b'\n1\n', b'\n{1\n'))

    with pytest.raises(ValueError, match=r'rank0of1\.jsonl is damaged at line 2'):
        list(Journal(tmp_path, SETTINGS))


def test_two_processes_never_write_one_file(tmp_path):
    with Journal(tmp_path, SETTINGS) as journal:
        with multiprocessing.get_context('fork').Pool(1) as pool, pytest.raises(ValueError, match='still running'):
            pool.apply(write, (tmp_path, 1))
        journal.append(2)

    assert list(Journal(tmp_path, SETTINGS)) == [2]


def test_remove(tmp_path):
    write(tmp_path / 'parts', 1)
    journal = Journal(tmp_path / 'parts', SETTINGS)

    journal.remove()

    assert not (tmp_path / 'parts').exists()
    journal.remove()


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    with Journal(tmp_path, SETTINGS) as journal:
        monkeypatch.setattr('os.fsync', full)
        with pytest.raises(OSError, match=r'^cannot write .*rank0of1\.jsonl: No space left on device$') as refusal:
            journal.append({'photo': 1})

    assert disk_is_full(refusal.value)


def test_records_are_on_the_disk_when_power_fails(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr('os.fsync', lambda handle: flushed.append(Path(os.readlink(f'/proc/self/fd/{handle}'))))

    path = write(tmp_path / 'parts', 1)

    assert flushed == [tmp_path, path]


def test_a_second_run_waits_for_nobody_and_reads_nothing_before_it_has_the_lock(tmp_path):
    """Of whatever number of processes: the first one would remove what the second one has read."""
    with Journal(tmp_path, SETTINGS), pytest.raises(ValueError, match='lock is being written by another process'):
        Journal(tmp_path, SETTINGS, 0, 4).__enter__()


def test_a_folder_that_another_run_has_just_removed_is_made_again(tmp_path, monkeypatch):
    import fcntl

    first, flock = Journal(tmp_path / 'parts', SETTINGS), fcntl.flock
    write(tmp_path / 'parts', 1)

    def slow(*args):
        first.remove()
        monkeypatch.setattr('fcntl.flock', flock)
        return flock(*args)

    monkeypatch.setattr('fcntl.flock', slow)
    write(tmp_path / 'parts', 2)

    assert list(Journal(tmp_path / 'parts', SETTINGS)) == [2]


def test_a_run_with_other_settings_leaves_nothing_behind(tmp_path):
    write(tmp_path, 1)
    with Journal(tmp_path, {**SETTINGS, 'score_thr': 0.5}, 0, 2):
        pass

    assert list(Journal(tmp_path, SETTINGS)) == [1]
