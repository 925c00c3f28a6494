"""What a worker does with a chunk of photos, and what the driver is told; the whole job is in test_archives.py."""

import errno
import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from insta_colorization.apis import archive, archive_tasks, archive_work
from insta_colorization.apis.archive import chunk_size, colorize_archive
from insta_colorization.apis.archive_plan import Clerk, Plan, Planned
from insta_colorization.apis.archive_tasks import ColorTask
from insta_colorization.apis.archive_work import Report, Worker
from insta_colorization.apis.jobs import plan
from insta_colorization.apis.predictor import Predictor
from insta_colorization.fileio.stores import Folder
from insta_colorization.utils.options import ArchiveOptions, ColourOptions, PaceOptions, ResultOptions


@pytest.fixture(scope='module')
def predictor(fused_weights) -> Predictor:
    return Predictor(weights=fused_weights, detector='none')


@pytest.fixture
def photos(tmp_path) -> list[Planned]:
    """Three small grey photos."""
    (tmp_path / 'photos').mkdir()
    found = []
    for number in range(1, 4):
        path = tmp_path / 'photos' / f'{number}.jpg'
        Image.fromarray(np.full((24, 32), 60 * number, np.uint8)).save(path)
        found.append(Planned(number, str(path), f'sub/{number}.png'))
    return found


def colour(predictor: Predictor, photos: list[Planned], target: Folder, **results: object) -> Report:
    report = Report()
    ColorTask(target, {}, ResultOptions(**results), ColourOptions(), PaceOptions(workers=0)).do(
        predictor, photos, report
    )
    return report


def kinds(report: Report) -> list[str]:
    return [failure.kind for failure in report.failed]


@pytest.mark.parametrize('place', ['here', 'store'])
def test_results_and_records_are_published_whole(predictor, photos, tmp_path, place):
    pytest.importorskip('fsspec').filesystem('memory').store.clear()
    target = Folder.at(tmp_path / 'out' if place == 'here' else 'memory://bucket')

    report = colour(predictor, photos, target)

    assert (report.done, report.skipped, report.failed, report.stop) == (3, 0, [], None)
    assert set(report.seconds) == {'read', 'detect', 'colour', 'write'}
    assert sorted(target.names()) == sorted(f'sub/{n}.png{end}' for n in (1, 2, 3) for end in ('', '.json'))
    record = json.loads(target.file('sub/1.png.json').read())
    assert record['output'] == target.file('sub/1.png').address
    assert record['photo'] == photos[0].source
    assert record['source']['size'] == Path(photos[0].source).stat().st_size
    assert list(tmp_path.glob('out/.*')) == []


def test_sheets_of_replaced_results_go(predictor, photos, tmp_path):
    target = Folder.at(tmp_path / 'out')
    colour(predictor, photos[:1], target, show_instances=True)
    assert 'sub/1.png.instances.png' in target.names()

    colour(predictor, photos[:1], target, overwrite=True)

    assert sorted(target.names()) == ['sub/1.png', 'sub/1.png.json']


def test_what_a_stage_waits_for_is_not_its_time(predictor, photos, tmp_path, monkeypatch):
    color = predictor.color

    def late(*args, **settings):
        time.sleep(0.2)
        return color(*args, **settings)

    monkeypatch.setattr(predictor, 'color', late)
    begin = time.perf_counter()
    report = colour(predictor, photos[:1], Folder.at(tmp_path / 'out'))

    assert 0 < report.seconds['colour'] < time.perf_counter() - begin - 0.2


def test_pixels_and_metadata_are_those_of_a_folder(predictor, photos, tmp_path):
    from insta_colorization.apis.album import color_album

    results = ResultOptions(out_dir=tmp_path / 'plain', save_json=True, marks='none')
    jobs = plan([tmp_path / 'photos'], tmp_path / 'plain')
    color_album(predictor, jobs, results, ColourOptions(), PaceOptions())

    colour(predictor, photos, Folder.at(tmp_path / 'out'), marks='none')

    for number in (1, 2, 3):
        plain, own = (tmp_path / place / f'{number}.png' for place in ('plain', 'out/sub'))
        assert plain.read_bytes() == own.read_bytes()
        told = [json.loads(Path(f'{path}.json').read_bytes()) for path in (plain, own)]
        own_alone = {'output': None, 'event': None, 'source': None}
        assert told[0] | own_alone == told[1] | own_alone


@pytest.mark.slow
def test_what_is_whole_is_kept_and_the_rest_is_made_again(predictor, photos, tmp_path):
    target = Folder.at(tmp_path / 'out')
    colour(predictor, photos, target)
    first, second, third = (tmp_path / 'out' / photo.name for photo in photos)
    first.write_bytes(b'')
    second.write_bytes(second.read_bytes()[:-5])
    before = third.stat().st_mtime_ns

    report = colour(predictor, photos, target)

    assert (report.done, report.skipped) == (2, 1)
    assert third.stat().st_mtime_ns == before
    assert Image.open(first).size == Image.open(second).size == (32, 24)
    assert colour(predictor, photos, target, overwrite=True).done == 3


def test_each_failure_has_its_kind_and_the_others_go_on(predictor, photos, tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    (tmp_path / 'bad.jpg').write_bytes(b'no photo')
    (tmp_path / 'folder.jpg').mkdir()
    bad = ('bad.jpg', 'none.jpg', 'folder.jpg')
    wrong = [Planned(9, str(tmp_path / name), f'{number}.png') for number, name in enumerate(bad)]
    wrong.append(Planned(9, 'http://127.0.0.1:9/a.jpg', '9.png'))

    report = colour(predictor, [*wrong, *photos], Folder.at(tmp_path / 'out'))

    assert report.done == 3
    assert kinds(report) == ['damaged', 'missing', 'folder', 'unreachable']
    assert report.failed[1].reason == f'cannot read {tmp_path}/none.jpg: there is no such file'
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_photo_that_may_not_be_read(predictor, photos, tmp_path):
    Path(photos[0].source).chmod(0)

    assert kinds(colour(predictor, photos, Folder.at(tmp_path / 'out'))) == ['permission']


def test_permissions_have_a_kind_of_their_own(predictor, photos, tmp_path, monkeypatch):
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, 'Permission denied', str(path))

    monkeypatch.setattr('insta_colorization.fileio.stores.open_regular', refuse)

    report = colour(predictor, photos[:1], Folder.at(tmp_path / 'out'))

    assert kinds(report) == ['permission']
    assert report.failed[0].reason == f'cannot read {photos[0].source}: permission denied'


def test_a_photo_that_changes_meanwhile_has_no_result(predictor, photos, tmp_path, monkeypatch):
    source, finish = Path(photos[0].source), predictor.finish

    def slow(photo, *rest):
        if photo.path == source:
            source.write_bytes(source.read_bytes() + b'more')
        return finish(photo, *rest)

    monkeypatch.setattr(predictor, 'finish', slow)

    report = colour(predictor, photos, Folder.at(tmp_path / 'out'))

    assert (report.done, kinds(report)) == (2, ['changed'])
    assert 'changed while it was coloured' in report.failed[0].reason
    assert not (tmp_path / 'out' / photos[0].name).exists()


def test_a_store_that_takes_nothing_fails_its_photos(predictor, photos, tmp_path, monkeypatch):
    store = pytest.importorskip('fsspec').filesystem('memory')
    store.store.clear()

    def refuse(*args: object, **settings: object) -> None:
        raise RuntimeError('503 Slow Down')

    monkeypatch.setattr(type(store), 'pipe_file', refuse)

    report = colour(predictor, photos[:1], Folder.at('memory://bucket'))

    assert kinds(report) == ['write']
    assert report.failed[0].reason.endswith(
        "cannot write memory://bucket/sub/1.png.json: RuntimeError('503 Slow Down')"
    )


def test_a_full_target_ends_the_run(predictor, photos, tmp_path, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Folder, 'put', full)

    with pytest.raises(OSError, match='No space left on device'):
        colour(predictor, photos, Folder.at(tmp_path / 'out'))
    assert [path for path in (tmp_path / 'out').rglob('*') if path.is_file()] == []


def test_sources_stay_as_they_are(predictor, photos, tmp_path):
    def states() -> list:
        files = [Path(photo.source) for photo in photos]
        return [(hashlib.sha256(file.read_bytes()).digest(), file.stat().st_mtime_ns) for file in files]

    before = states()
    colour(predictor, photos, Folder.at(tmp_path / 'out'), keep_times=True)

    assert states() == before
    assert (tmp_path / 'out' / photos[0].name).stat().st_mtime_ns == before[0][1]


@pytest.mark.parametrize(
    ('source', 'target'), [('photos', 'photos'), ('photos', 'photos/out'), ('photos', 'link/out'), ('a/photos', 'a')]
)
def test_a_target_among_the_photos_is_refused(tmp_path, source, target):
    (tmp_path / 'a' / 'photos').mkdir(parents=True)
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'link').symlink_to('photos')

    with pytest.raises(ValueError, match=f'target .*{target} and the source .*{source} lie in each other'):
        colorize_archive(tmp_path / source, tmp_path / target)


def test_without_ray_one_sentence_has_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'ray', None)

    with pytest.raises(ImportError, match=r'an archive needs Ray Data .*: pip install "insta_colorization\[cluster\]"'):
        colorize_archive(tmp_path / 'photos', tmp_path / 'out')


def test_a_cluster_elsewhere_that_does_not_answer_may_want_a_token(photos, tmp_path, monkeypatch):
    class Ray:
        def init(self, address, **settings):
            raise ConnectionError('ray client connection timeout')

    monkeypatch.setattr(archive, 'ray_data', Ray)

    with pytest.raises(OSError, match=r'no Ray cluster at ray://far:1, or it wants a token .*: ray client'):
        colorize_archive(tmp_path / 'photos', tmp_path / 'out', options=ArchiveOptions(address='ray://far:1'))


@pytest.mark.parametrize(('photos', 'batch', 'size'), [(5, 1, 16), (5000, 3, 18), (200_000, 8, 200), (10**8, 1, 4096)])
def test_chunks_are_whole_batches(photos, batch, size):
    assert chunk_size(photos, batch) == size


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'address': 'far'}, "address must be local, auto or ray://HOST:PORT, but got 'far'"),
        ({'actors': 0}, 'actors must be at least 1, but got 0'),
        ({'chunk': 0}, 'chunk must be at least 1, but got 0'),
        ({'cpus': 0}, 'cpus must be above 0 and finite, but got 0'),
        ({'gpus': -1}, 'gpus must be at least 0 and finite, but got -1'),
    ],
)
def test_options_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        ArchiveOptions(**values)


class TestClerk:
    @pytest.fixture
    def clerk(self, photos, tmp_path) -> Clerk:
        made = Plan.make(tmp_path / 'plan', Folder.at(tmp_path / 'photos'), Folder.at(tmp_path / 'out'), '.png')
        made.close()
        return Clerk(tmp_path / 'plan', 2)

    def test_a_chunk_that_was_begun_and_not_ended_is_told(self, clerk):
        photos, again = clerk.begin(0)

        assert [photo.number for photo in photos] == [1, 2]
        assert not again
        assert clerk.begin(0)[1]
        clerk.end(0)
        assert not clerk.begin(0)[1]

    def test_a_photo_that_kills_is_given_up_and_the_others_are_coloured(self, clerk, predictor, tmp_path, monkeypatch):
        """A `kill -9` is a worker that never returns; another one takes its chunk."""
        task = ColorTask(Folder.at(tmp_path / 'out'), {}, ResultOptions(), ColourOptions(), PaceOptions(workers=0))
        do = ColorTask.do

        class Killed(BaseException): ...

        def deadly(task, predictor, group, report):
            if any(photo.number == 2 for photo in group):
                raise Killed
            do(task, predictor, group, report)

        monkeypatch.setattr(ColorTask, 'do', deadly)
        monkeypatch.setattr('insta_colorization.apis.predictor.Predictor', lambda **settings: predictor)
        monkeypatch.setattr(archive_tasks, 'keep_between_photos', lambda size: None)
        monkeypatch.setattr(archive_work, 'ray_data', lambda: _Here)
        for _ in range(4):
            with pytest.raises(Killed):
                Worker(task, _Actor(clerk))({'id': [0]})

        report = Report.from_row({'report': Worker(task, _Actor(clerk))({'id': [0]})['report'][0]})

        assert (report.skipped, kinds(report)) == (1, ['crash'])
        assert report.failed[0].reason.endswith('2.jpg: its worker died 3 times')


class _Here:
    """Ray, without processes."""

    get = staticmethod(lambda value: value)


class _Actor:
    """An actor's handle, of an object of this process."""

    def __init__(self, actor: object) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> object:
        method = getattr(self._actor, name)
        return type('Method', (), {'remote': staticmethod(method)})


def test_what_keeps_workers_from_beginning_is_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_tasks, 'keep_between_photos', lambda size: None)
    task = ColorTask(Folder.at(tmp_path), {'device': 'tpu'}, ResultOptions(), ColourOptions(), PaceOptions())

    (told,) = Worker(task, None)({'id': [0]})['report']

    assert "there is no device 'tpu' here" in json.loads(told)['stop']
