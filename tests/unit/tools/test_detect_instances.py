import json
import logging
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from scripts import load_script

from insta_colorization.detectors import CachedDetector, OpenCVDetector
from insta_colorization.detectors.selection import select
from insta_colorization.imaging.photo import load_rgb

NAMES = [f'{number}.png' for number in range(1, 7)]


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_script('tools/detect_instances.py')


@pytest.fixture
def album(tmp_path) -> Path:
    """Six photos, and a file of boxes that serves as their detector: photo n has n - 1 boxes, scores 0.5 and higher."""
    folder = tmp_path / 'album'
    folder.mkdir()
    images, annotations = [], []
    for number, name in enumerate(NAMES):
        Image.new('RGB', (60, 40), (number, 120, 150)).save(folder / name)
        images.append({'id': number, 'file_name': name})
        annotations += [
            {'image_id': number, 'bbox': [box, 1, 10, 20], 'score': 0.5 + box / 10, 'category_id': 1}
            for box in range(number)
        ]
    (tmp_path / 'boxes.json').write_text(json.dumps({'images': images, 'annotations': annotations}))
    return folder


@pytest.fixture
def run(tool, album, tmp_path, capsys):
    """Runs the tool on the album into `tmp_path/out.json`; gives its status and what it printed."""

    def run(*options: object, detector: object = tmp_path / 'boxes.json', images: tuple = (album,)) -> tuple[int, str]:
        argv = [detector, *images, '--out', tmp_path / 'out.json', '--device', 'cpu', *options]
        try:
            status = tool.main([str(item) for item in argv])
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def written(tmp_path: Path) -> dict:
    return json.loads((tmp_path / 'out.json').read_text())


def counts(content: dict) -> dict[str, int]:
    """Number of boxes by file name."""
    names = {image['id']: image['file_name'] for image in content['images']}
    owners = [names[item['image_id']] for item in content['annotations']]
    return {name: owners.count(name) for name in names.values()}


def interrupted_after(photos: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stops the next run before it detects one photo more; the list gets the name of every photo detected."""
    detect, seen = CachedDetector.detect, []

    def stopping(self, images, paths=None):
        if len(seen) == photos:
            raise KeyboardInterrupt
        seen.append(Path(paths[0]).name)
        return detect(self, images, paths)

    monkeypatch.setattr(CachedDetector, 'detect', stopping)
    return seen


def test_a_folder(run, tmp_path):
    status, text = run()

    assert status == 0
    assert text == f'{tmp_path}/out.json: 15 instances in 6 photos, 1 of them without any; 0 photos failed\n'
    assert counts(written(tmp_path)) == {name: number for number, name in enumerate(NAMES)}
    assert written(tmp_path)['info'] == {
        'detector': str(tmp_path / 'boxes.json'),
        'type': 'CachedDetector',
        'score_thr': 0.0,
        'min_size': 0.0,
        'top_k': None,
        'masks': False,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ['album', 'boxes.json', 'out.json']


@pytest.mark.parametrize(('options', 'expected'), [([], 30), (['--top-k', '12'], 12)], ids=['all', 'top k'])
def test_by_default_all_boxes_above_the_threshold(run, album, tmp_path, options, expected):
    images = [{'id': 1, 'file_name': '1.png'}]
    annotations = [{'image_id': 1, 'bbox': [x, 1, 10, 20], 'score': 0.9, 'category_id': 1} for x in range(30)]
    (tmp_path / 'boxes.json').write_text(json.dumps({'images': images, 'annotations': annotations}))

    assert run(*options, images=(album / '1.png',))[0] == 0
    assert len(written(tmp_path)['annotations']) == expected


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        pytest.param(['--score-thr', '0.65'], 6, id='threshold'),
        pytest.param(['--top-k', '1'], 5, id='top k'),
        pytest.param(['--min-size', '11'], 0, id='size'),
    ],
)
def test_selection(run, tmp_path, options, expected):
    assert run(*options)[0] == 0
    assert len(written(tmp_path)['annotations']) == expected


@pytest.mark.slow
def test_the_embedded_detector_gives_what_it_finds_directly(run, root, tmp_path):
    """OpenCV's, which needs no file, on the bundled photo with its one face."""
    photo = root / 'demo' / 'astronaut.jpg'
    assert run(detector='opencv', images=(photo,))[0] == 0

    detector, image = OpenCVDetector(), load_rgb(photo)
    direct = select(detector.detect([image])[0], detector.score_thr)
    cached = CachedDetector(tmp_path / 'out.json').detect([image], [str(photo)])[0]
    assert len(direct)
    assert np.abs(cached.boxes - direct.boxes).max() <= 1 / 64
    np.testing.assert_array_equal(cached.boxes.floor(), direct.boxes.floor())
    np.testing.assert_array_equal(cached.scores, direct.scores)


@pytest.mark.parametrize('suffix', ['.py', ''])
def test_a_config_of_ours_says_which_detector(run, tmp_path, monkeypatch, suffix):
    folder = tmp_path / 'recipes'
    folder.mkdir()
    recipe = f"detector = dict(type='CachedDetector', path={str(tmp_path / 'boxes.json')!r}, score_thr=0.65)"
    (folder / 'mine.py').write_text(recipe)
    monkeypatch.setattr('insta_colorization.utils.configs.config_folder', lambda: folder)

    assert run(detector=folder / 'mine.py' if suffix else 'mine')[0] == 0
    assert len(written(tmp_path)['annotations']) == 6


@pytest.mark.parametrize('options', [(), ('--masks',)], ids=['boxes', 'masks'])
def test_masks_of_a_file_are_written_when_they_are_wanted(run, tmp_path, options):
    pytest.importorskip('pycocotools', reason='segmentation needs pycocotools')
    content = json.loads((tmp_path / 'boxes.json').read_text())
    for item in content['annotations']:
        item['segmentation'] = [[0, 1, 10, 1, 10, 11, 0, 11]]
    (tmp_path / 'boxes.json').write_text(json.dumps(content))

    assert run(*options)[0] == 0
    areas = {item['area'] for item in written(tmp_path)['annotations']}
    assert areas == ({100, 90, 80, 70, 60} if options else {200})


class TestResults:
    @pytest.fixture
    def listing(self, album) -> Path:
        """The album as a COCO file with ids of its own."""
        images = [{'id': 100 - n, 'file_name': name, 'width': 60, 'height': 40} for n, name in enumerate(NAMES)]
        (album / 'listing.json').write_text(json.dumps({'images': images, 'annotations': [], 'categories': []}))
        return album / 'listing.json'

    def test_have_the_inputs_ids(self, run, tmp_path, listing):
        assert run('--results', images=(listing,))[0] == 0

        ids = [item['image_id'] for item in written(tmp_path)]
        assert {number: ids.count(number) for number in ids} == {99: 1, 98: 2, 97: 3, 96: 4, 95: 5}

    def test_load_in_our_detector_with_the_input(self, run, tmp_path, listing, album):
        run('--results', images=(listing,))

        cached = CachedDetector(tmp_path / 'out.json', image_file=listing)
        (found,) = cached.detect([load_rgb(album / '4.png')], [str(album / '4.png')])
        np.testing.assert_array_equal(found.boxes, [[0, 1, 10, 21], [1, 1, 11, 21], [2, 1, 12, 21]])
        np.testing.assert_allclose(found.scores, [0.5, 0.6, 0.7])

    def test_load_in_pycocotools(self, run, tmp_path, listing):
        coco = pytest.importorskip('pycocotools.coco')
        run('--results', images=(listing,))

        results = coco.COCO(str(listing)).loadRes(str(tmp_path / 'out.json'))

        assert len(results.getAnnIds(imgIds=[95])) == 5

    def test_of_a_folder_are_refused(self, run, album):
        assert run('--results') == (1, f'error: --results takes the ids of a COCO .json, but the input is {album}\n')


def test_annotations_load_in_pycocotools(run, tmp_path):
    coco = pytest.importorskip('pycocotools.coco')
    run()

    annotations = coco.COCO(str(tmp_path / 'out.json'))

    assert len(annotations.getImgIds()) == 6
    assert len(annotations.getAnnIds(imgIds=[6], iscrowd=False)) == 5


class TestBrokenPhotos:
    def test_are_named_and_counted_and_the_others_go_on(self, run, album, tmp_path, caplog):
        (album / '3.png').write_bytes(b'no photo')

        status, text = run()

        assert status == 1
        assert text.endswith('13 instances in 5 photos, 1 of them without any; 1 photos failed\n')
        (line,) = [message for message in caplog.messages if message.startswith('failed: ')]
        assert str(album / '3.png') in line
        assert '3.png' not in counts(written(tmp_path))
        assert [image['id'] for image in written(tmp_path)['images']] == [1, 2, 4, 5, 6]

    def test_only(self, run, album, tmp_path):
        for name in NAMES:
            (album / name).write_bytes(b'no photo')

        status, text = run()

        assert (status, text.count('\n')) == (1, 1)
        assert text.startswith('error: none of the 6 photos could be used')
        assert not (tmp_path / 'out.json').exists()


@pytest.mark.parametrize('odd', [['x'], 7, None], ids=str)
def test_a_name_that_is_none_is_one_sentence(run, album, odd):
    content = {'images': [{'id': 1, 'file_name': odd}, {'id': 2, 'file_name': '1.png'}]}
    (album / 'list.json').write_text(json.dumps(content))

    status, text = run(images=(album / 'list.json',))

    assert (status, text.count('\n')) == (1, 1)
    assert 'list.json is not in COCO format: ' in text
    assert 'unexpected' not in text


class TestResuming:
    @pytest.mark.parametrize('photos', [0, 1, 5])
    def test_goes_on_where_it_was_stopped(self, run, tmp_path, monkeypatch, photos):
        run()
        whole = (tmp_path / 'out.json').read_bytes()
        (tmp_path / 'out.json').unlink()
        with monkeypatch.context() as patch:
            before = interrupted_after(photos, patch)
            assert run() == (130, 'stopped; repeat the command to go on\n')
        assert not (tmp_path / 'out.json').exists()

        after = interrupted_after(6 - photos, monkeypatch)
        assert run()[0] == 0

        assert before + after == NAMES
        assert (tmp_path / 'out.json').read_bytes() == whole
        assert not (tmp_path / 'out.json.parts').exists()

    def test_another_run_that_has_just_finished_is_not_overwritten(self, run, tmp_path, monkeypatch):
        """It finished between this one's first look at --out and its lock."""
        from insta_colorization.fileio.journal import Journal

        enter = Journal.__enter__

        def late(journal):
            (tmp_path / 'out.json').write_text('of another run')
            return enter(journal)

        monkeypatch.setattr(Journal, '__enter__', late)

        status, text = run()

        assert (status, text) == (1, f'error: {tmp_path}/out.json exists already; --overwrite replaces a file\n')
        assert (tmp_path / 'out.json').read_text() == 'of another run'

    def test_two_at_once_are_refused(self, run, tmp_path, monkeypatch):
        detect, inner = CachedDetector.detect, []

        def again(self, images, paths=None):
            if not inner:
                inner.append(None)
                inner[0] = run()
            return detect(self, images, paths)

        monkeypatch.setattr(CachedDetector, 'detect', again)

        assert run()[0] == 0
        assert 'is being written by another process that is still running' in inner[0][1]
        assert len(written(tmp_path)['images']) == 6

    def test_takes_over_from_any_number_of_processes(self, run, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            interrupted_after(4, patch)
            run()
        parts = tmp_path / 'out.json.parts'
        header, *lines = (parts / 'rank0of1.jsonl').read_bytes().splitlines(keepends=True)
        (parts / 'rank0of1.jsonl').unlink()
        (parts / 'rank0of3.jsonl').write_bytes(header + lines[0] + lines[3][:9])
        (parts / 'rank2of3.jsonl').write_bytes(header + lines[2])
        (parts / 'rank1of3.jsonl').write_bytes(header[:5])

        after = interrupted_after(4, monkeypatch)
        assert run()[0] == 0

        assert after == ['2.png', '4.png', '5.png', '6.png']
        assert counts(written(tmp_path)) == {name: number for number, name in enumerate(NAMES)}

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            pytest.param(['--score-thr', '0.3'], 'score_thr 0.0 instead of 0.3', id='threshold'),
            pytest.param(['--top-k', '3'], 'top_k None instead of 3', id='top k'),
        ],
    )
    def test_with_other_settings_is_refused(self, run, tmp_path, monkeypatch, options, message):
        with monkeypatch.context() as patch:
            interrupted_after(2, patch)
            run()

        status, text = run(*options)

        assert (status, text.count('\n')) == (1, 1)
        assert message in text
        assert str(tmp_path / 'out.json.parts' / 'rank0of1.jsonl') in text

    def test_with_photos_of_another_folder_is_refused(self, run, album, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            interrupted_after(2, patch)
            run()
        album.rename(tmp_path / 'moved')

        assert f'folder {str(album)!r} instead of' in run(images=(tmp_path / 'moved',))[1]


@pytest.mark.parametrize(
    ('options', 'changes', 'message'),
    [
        pytest.param([], {'detector': 'yolo'}, "no detector 'yolo'; known are none, embedded, opencv", id='detector'),
        pytest.param([], {'detector': 'none.onnx'}, 'no detector file none.onnx', id='no model'),
        pytest.param([], {'images': ('nowhere',)}, 'nowhere does not exist', id='no photos'),
        pytest.param(['--score-thr', '2'], {}, '--score-thr must lie in 0..1, but is 2.0', id='threshold'),
        pytest.param(['--top-k', '0'], {}, '--top-k must be at least 1, but is 0', id='top k'),
        pytest.param(['--batch-size', '0'], {}, '--batch-size must be at least 1, but is 0', id='batch'),
        pytest.param(['--out', 'out.txt'], {}, '--out must name a .json file, but got out.txt', id='suffix'),
        pytest.param(['--device', 'tpu'], {}, "no device 'tpu'", id='device'),
        pytest.param(['--data-root', 'x'], {}, 'data root x is for the photos of a COCO .json', id='data root'),
    ],
)
def test_errors_are_one_sentence(run, tmp_path, options, changes, message):
    status, text = run(*options, **changes)

    assert status != 0
    assert text.startswith('error: ')
    assert message in text
    assert text.count('\n') == 1
    assert not list(tmp_path.glob('out.json*'))


def test_nothing_is_overwritten_unasked(run, tmp_path):
    (tmp_path / 'out.json').write_text('precious')

    assert run() == (1, f'error: {tmp_path}/out.json exists already; --overwrite replaces a file\n')
    assert (tmp_path / 'out.json').read_text() == 'precious'
    assert run('--overwrite')[0] == 0
    assert len(written(tmp_path)['images']) == 6


def test_boxes_of_other_photos_are_no_detector(run, tmp_path):
    (tmp_path / 'boxes.json').write_text(
        (tmp_path / 'boxes.json').read_text().replace('.png', '.jpg'),
    )

    status, text = run()

    assert status == 1
    assert '6 file names, such as 1.jpg, and 0 of the 6 photos matched' in text


def test_the_log_says_now_and_then_how_far_it_is(run, monkeypatch, caplog):
    monkeypatch.setattr('insta_colorization.apis.parallel_detection.LOG_EVERY', 2)
    caplog.set_level(logging.INFO)

    run()

    assert [line for line in caplog.messages if ' of 6 photos' in line] == [f'{n} of 6 photos' for n in (2, 4, 6)]
