import json
from pathlib import Path

import pytest
from scripts import load_script

SUMMARY = {
    'photos': 110,
    'done': 100,
    'planning': 1.1,
    'first': 21.0,
    'duration': 60.0,
    'stages': {'read': 0.1, 'detect': 0.3, 'colour': 0.5, 'write': 0.1},
    'cpu': 1.0,
    'chunk': 16,
    'workers': 2,
    'cpus': 1.0,
    'gpus': 0.0,
}


@pytest.fixture(scope='module')
def simulate():
    return load_script('tools/analysis_tools/simulate_archive.py')


def written(path: Path, **changes: object) -> str:
    path.write_text(json.dumps(SUMMARY | changes))
    return str(path)


def test_times_of_a_run(simulate):
    times = simulate.times_of(SUMMARY)

    assert (times.photo, times.slowest) == (1.0, 'colour')
    assert times.start == pytest.approx(5.0)
    assert times.planning == pytest.approx(0.01)


def test_networks_on_a_gpu_wait_for_nobody(simulate):
    times = simulate.times_of(SUMMARY | {'cpu': 1.2, 'cpus': 4.0, 'gpus': 1.0})
    slow = {'read': 0.1, 'detect': 0.1, 'colour': 0.1, 'write': 4.0}

    assert times.photo == pytest.approx(0.8)
    assert simulate.times_of(SUMMARY | {'cpu': 5.0, 'cpus': 4.0, 'stages': slow}).slowest == 'write'


@pytest.mark.parametrize(
    ('photos', 'workers', 'chunk', 'store', 'seconds'),
    [
        (10, 1, 5, float('inf'), 15),  # the start, and one after the other
        (10, 2, 5, float('inf'), 10),
        (12, 2, 5, float('inf'), 12),  # the last two wait for a worker
        (10, 9, 5, float('inf'), 10),  # more workers than chunks
        (10, 2, 5, 0.5, 25),
    ],
)
def test_duration(simulate, photos, workers, chunk, store, seconds):
    times = simulate.times_of(SUMMARY)

    assert simulate.duration(times, photos, workers, chunk, store) == pytest.approx(seconds)


def test_the_table(simulate, tmp_path, capsys):
    """10,000 s of work; then 1,000,000 s on machines of ten, done in a day, which the plan takes 10,000 s of."""
    assert simulate.main([written(tmp_path / 's.json'), '--cores', '10', '--price', '2']) == 0

    rows = [line.strip('| ').split(' | ') for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [['10,000', '1'], ['1,000,000', '2'], ['100,000,000', '1,000']]
    assert [row[4] for row in rows] == ['colour', 'colour', 'planning']
    assert float(rows[0][2]) == pytest.approx((10_000 / 10 + 5 + 100) / 3600, abs=0.01)
    assert float(rows[0][3]) == pytest.approx(2 * 1005 / 3600 * 100, rel=0.02)


def test_a_store_that_is_slower_than_the_machines(simulate, tmp_path, capsys):
    simulate.main([written(tmp_path / 's.json'), '--cores', '10', '--store', '2'])

    assert capsys.readouterr().out.splitlines()[2].endswith('| store |')


def test_a_check_tells_the_error(simulate, tmp_path, capsys):
    other = written(tmp_path / 'o.json', photos=200, workers=4, duration=50.0, chunk=50)

    assert simulate.main([written(tmp_path / 's.json'), '--check', other]) == 0
    assert capsys.readouterr().out == '200 photos: 55 s expected, 50 s measured, +10.0 %\n'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'done': 0}, 'has no times: 0 of its 110 photos were coloured'),
        ({'cpu': None}, 'is no summary of an archive: it lacks cpu'),
        ({'first': None}, 'is no summary of an archive: it lacks first'),
        ({'stages': {}}, 'is no summary of an archive: it lacks stages'),
        ({'cpus': 16.0}, 'a worker takes 16 CPU and 0 GPU, but a machine has fewer'),
    ],
)
def test_what_is_no_summary(simulate, tmp_path, capsys, changes, message):
    assert simulate.main([written(tmp_path / 's.json', **changes)]) == 1
    assert message in capsys.readouterr().err


def test_a_summary_that_is_not_there(simulate, tmp_path, capsys):
    assert simulate.main([str(tmp_path / 'no.json')]) == 1
    assert 'there is no summary' in capsys.readouterr().err
