"""What an archive's job does with photos besides colouring all of them alike: finding objects, measuring, wishes."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import load_script

from insta_colorization.apis import archive
from insta_colorization.apis.archive import FIGURES, SUMMARY, run_archive
from insta_colorization.apis.archive_manifest import PhotoRequest
from insta_colorization.apis.archive_plan import Planned
from insta_colorization.apis.archive_tasks import ColorTask, DetectTask, EvaluateTask
from insta_colorization.apis.archive_work import Report, Task, Worker
from insta_colorization.apis.predictor import Predictor
from insta_colorization.detectors import NoDetector
from insta_colorization.evaluation.metrics import LPIPS, PSNR, SSIM
from insta_colorization.evaluation.metrics.base import NotComputableError
from insta_colorization.fileio.boxes import open_boxes
from insta_colorization.fileio.stores import Folder
from insta_colorization.structures import Instances
from insta_colorization.utils.options import ColourOptions, PaceOptions, ResultOptions

# The chunks of whole jobs.
pytestmark = pytest.mark.slow

PACE = PaceOptions(workers=0)
BOXES = [[2, 3, 20, 18], [8, 1, 30.5, 20.25], [0, 0, 3, 3]]


class Fixed:
    """Finds the same boxes everywhere, and fails at black photos."""

    score_thr = 0.5

    def detect(self, images, paths=None):
        if any(not image.any() for image in images):
            raise ValueError('it is black')
        return [Instances.clipped(BOXES, image.shape[:2], [0.9, 0.8, 0.1], labels=[0, 5, -1]) for image in images]


@pytest.fixture(scope='module')
def predictor(fused_weights) -> Predictor:
    return Predictor(weights=fused_weights, detector=Fixed())


@pytest.fixture
def photos(tmp_path) -> list[Planned]:
    """Three small photos in colour."""
    generator = np.random.default_rng(0)
    return [
        planned(tmp_path / 'photos' / 'sub' / f'{number}.png', generator.integers(1, 255, (24, 32, 3), np.uint8))
        for number in range(1, 4)
    ]


@pytest.fixture(params=['here', 'store'])
def folder(request, tmp_path) -> Folder:
    """A folder for results."""
    if request.param == 'here':
        return Folder.at(tmp_path / 'found')
    pytest.importorskip('fsspec').filesystem('memory').store.clear()
    return Folder.at('memory://found')


def planned(path: Path, pixels: np.ndarray, **said: object) -> Planned:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    own = f'sub/{path.name}'
    return Planned(int(path.stem), str(path), own, own, PhotoRequest(**said))


def said(photo: Planned, **said: object) -> Planned:
    return photo._replace(said=PhotoRequest(**said))


def done(task: Task, loaded: object, photos: list[Planned]) -> Report:
    report = Report(seconds=dict.fromkeys(task.stages, 0.0))
    task.do(loaded, photos, report)
    return report


def coloured(predictor: Predictor, photos: list[Planned], target: Path, boxes: Folder | None = None) -> Report:
    results = ResultOptions(marks='none')  # a mark has the time
    return done(ColorTask(Folder.at(target), {}, results, ColourOptions(), PACE, boxes), predictor, photos)


def found_in(folder: Folder, photos: list[Planned]) -> list[Planned]:
    """The photos, whose results are files of boxes."""
    return [photo._replace(name=f'{photo.own}.npz') for photo in photos]


def record(target: Path, photo: Planned) -> dict:
    return json.loads((target / f'{photo.name}.json').read_bytes())


def failures(report: Report) -> list[tuple[str, str]]:
    return [(failure.kind, failure.reason) for failure in report.failed]


class TestDetecting:
    def test_the_demo_reads_what_was_found(self, photos, tmp_path):
        target = Folder.at(tmp_path / 'found')
        report = done(DetectTask(target, 'fixed', pace=PACE), Fixed(), found_in(target, photos))

        assert (report.done, report.skipped, report.failed) == (3, 0, [])
        assert sorted(target.names()) == [f'sub/{number}.png.npz' for number in (1, 2, 3)]
        found = open_boxes(tmp_path / 'found').instances_of(photos[0].source, (24, 32))
        assert found.boxes.tolist() == BOXES[:2]
        assert found.labels.tolist() == [0, 5]
        assert found.scores.tolist() == pytest.approx([0.9, 0.8])

    def test_what_is_there_is_kept(self, photos, folder):
        photos = found_in(folder, photos)
        done(DetectTask(folder, 'fixed', pace=PACE), Fixed(), photos[:2])

        report = done(DetectTask(folder, 'fixed', pace=PACE), Fixed(), photos)

        assert (report.done, report.skipped) == (1, 2)
        assert done(DetectTask(folder, 'fixed', pace=PACE, overwrite=True), Fixed(), photos).done == 3

    def test_a_photo_that_cannot_be_searched_or_read_fails_alone(self, photos, tmp_path):
        target = Folder.at(tmp_path / 'found')
        black = planned(tmp_path / 'photos' / '9.png', np.zeros((8, 8, 3), np.uint8))
        (tmp_path / 'bad.jpg').write_bytes(b'no photo')
        bad = [black, Planned(8, str(tmp_path / 'bad.jpg'), '8.npz'), Planned(7, str(tmp_path / 'none.jpg'), '7.npz')]

        report = done(DetectTask(target, 'fixed', pace=PaceOptions(batch_size=4)), Fixed(), [*bad, *photos])

        assert report.done == 3
        assert sorted(kind for kind, _ in failures(report)) == ['damaged', 'detect', 'missing']

    def test_the_best_ones_alone(self, photos, tmp_path):
        task = DetectTask(Folder.at(tmp_path / 'found'), 'fixed', top_k=1, min_size=4, pace=PACE)

        done(task, Fixed(), found_in(task.target, photos))

        assert open_boxes(tmp_path / 'found').instances_of(photos[0].source, (24, 32)).boxes.tolist() == BOXES[:1]

    def test_detectors_by_name(self, tmp_path):
        assert isinstance(DetectTask(Folder.at(tmp_path), 'none').load(), NoDetector)

        (told,) = Worker(DetectTask(Folder.at(tmp_path), 'nobody'), None)({'id': [0]})['report']

        assert "there is no detector 'nobody'" in json.loads(told)['stop']


class TestBoxes:
    def test_colours_by_known_boxes_are_those_by_the_detector(self, predictor, photos, tmp_path, folder):
        done(DetectTask(folder, 'fixed', pace=PACE), Fixed(), found_in(folder, photos))

        coloured(predictor, photos, tmp_path / 'detected')
        report = coloured(predictor, photos, tmp_path / 'known', folder)

        assert report.done == 3
        for photo in photos:
            one, other = ((tmp_path / name / photo.name).read_bytes() for name in ('detected', 'known'))
            assert one == other
        told = [record(tmp_path / name, photos[0]) for name in ('detected', 'known')]
        assert told[0]['boxes'] == told[1]['boxes'] == [[2, 3, 20, 18], [8, 1, 30.5, 20.25]]
        assert 'boxes_file' not in told[0]
        assert told[1]['boxes_file'] == folder.file('sub/1.png.npz').address

    def test_a_photo_can_have_its_own(self, predictor, photos, tmp_path):
        np.savez(tmp_path / 'mine.npz', bbox=[[1, 2, 11, 12]])
        own = said(photos[0], boxes=str(tmp_path / 'mine.npz'))

        coloured(predictor, [own, *photos[1:]], tmp_path / 'out')

        boxes = [record(tmp_path / 'out', photo)['boxes'] for photo in photos]
        assert boxes == [[[1, 2, 11, 12]], *[[[2, 3, 20, 18], [8, 1, 30.5, 20.25]]] * 2]

    def test_a_file_that_is_not_there_or_damaged_fails_its_photo(self, predictor, photos, tmp_path):
        found = tmp_path / 'found' / 'sub'
        found.mkdir(parents=True)
        np.savez(found / '1.png.npz', bbox=[[1, 2, 11, 12]])
        (found / '2.png.npz').write_bytes(b'no zip')

        report = coloured(predictor, photos, tmp_path / 'out', Folder.at(tmp_path / 'found'))

        assert report.done == 1
        (damaged, why), (missing, which) = failures(report)
        assert (damaged, missing) == ('request', 'request')
        assert f'{found}/2.png.npz: the .npz cannot be read' in why
        assert which.endswith(f'cannot read {found}/3.png.npz: there is no such file')


class TestWishes:
    def test_captions_and_hints_are_those_of_their_photos(self, predictor, photos, tmp_path):
        (tmp_path / 'hints.json').write_text('[{"object": 0, "color": "red"}]')
        wished = [
            said(photos[0], caption='a blue person'),
            said(photos[1], hints=[{'point': [5, 5], 'color': 'green'}]),
            said(photos[2], hints=str(tmp_path / 'hints.json')),
        ]

        report = coloured(predictor, wished, tmp_path / 'out')

        assert report.done == 3
        told = [record(tmp_path / 'out', photo) for photo in photos]
        assert ['caption' in each for each in told] == [True, False, False]
        assert [hint['box'] for hint in told[1]['hints']] == [[3, 3, 8, 8]]
        assert [hint['box'] for hint in told[2]['hints']] == [[2, 3, 20, 18]]

    @pytest.mark.parametrize(
        ('content', 'reason'),
        [
            (None, 'cannot read {}: there is no such file'),
            ('[', '{}: it is not JSON: '),
            ('{"a": 1}', '{}: it must have a list of hints, but has '),
            ('[{"point": [1, 2], "color": "rad"}]', "{}: the file, hint 0: there is no colour 'rad'; close names are "),
        ],
    )
    def test_a_file_of_hints_that_cannot_be_used_fails_its_photo(self, predictor, photos, tmp_path, content, reason):
        if content is not None:
            (tmp_path / 'hints.json').write_text(content)
        wished = said(photos[0], hints=str(tmp_path / 'hints.json'))

        report = coloured(predictor, [wished, photos[1]], tmp_path / 'out')

        assert report.done == 1
        ((kind, why),) = failures(report)
        assert kind == 'request'
        assert why.startswith(reason.format(tmp_path / 'hints.json'))

    def test_a_hint_outside_its_photo_fails_it(self, predictor, photos, tmp_path):
        wished = said(photos[0], hints=[{'point': [99, 5], 'color': 'green'}])

        report = coloured(predictor, [wished, photos[1]], tmp_path / 'out')

        ((kind, why),) = failures(report)
        assert (report.done, kind) == (1, 'colour')
        assert 'lies outside the photo of width 32 and height 24' in why

    def test_a_page(self, predictor, tmp_path):
        pages = [Image.fromarray(np.full((16, 16), level, np.uint8)) for level in (40, 200)]
        pages[0].save(tmp_path / 'a.tif', save_all=True, append_images=pages[1:])
        wished = [
            Planned(number, str(tmp_path / 'a.tif'), f'a_page{number}.png', said=PhotoRequest(page=number))
            for number in (2, 3)
        ]

        report = coloured(predictor, wished, tmp_path / 'out')

        assert report.done == 1
        with Image.open(tmp_path / 'out' / 'a_page2.png') as result:
            assert np.asarray(result.convert('L')).mean() == pytest.approx(200, abs=8)
        assert record(tmp_path / 'out', wished[0])['photo'] == f'{tmp_path}/a.tif (page 2)'
        ((kind, why),) = failures(report)
        assert kind == 'damaged'
        assert why.startswith(f'{tmp_path}/a.tif (page 3)')


class TestMeasuring:
    @pytest.fixture
    def pictures(self, photos, tmp_path) -> Folder:
        """Coloured ones of two of the photos."""
        for photo in photos[:2]:
            pixels = np.asarray(Image.open(photo.source)).astype(int)
            path = tmp_path / 'coloured' / photo.name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * 0.75 + [60, 20, 0]).astype(np.uint8)).save(path)
        return Folder.at(tmp_path / 'coloured')

    def measured(self, photos, pictures, target, **options) -> Report:
        task = EvaluateTask(target, pictures, pace=PACE, **options)
        return done(task, task.load(), photos)

    def test_figures_are_those_of_one_machine(self, photos, pictures, tmp_path, folder, capsys):
        report = self.measured(photos[:2], pictures, folder)

        load_script('tools/analysis_tools/compare_photos.py').main(
            [str(tmp_path / 'coloured' / 'sub'), str(tmp_path / 'photos' / 'sub')]
        )
        printed = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
        for row, photo, (name, *figures) in zip(report.figures, photos, printed, strict=False):
            assert (row['photo'], Path(row['coloured']).stem) == (photo.source, name)
            exact = [row[figure] for figure in ('ab_error', 'ab_error_of_grey', 'CF', 'CF_truth')]
            assert [f'{value:.{len(text.partition(".")[2])}f}' for value, text in zip(exact, figures, strict=True)] == (
                figures
            )
            truth, picture = (
                torch.from_numpy(np.array(Image.open(path))).movedim(-1, 0)
                for path in (photo.source, tmp_path / 'coloured' / photo.name)
            )
            assert PSNR().measure(truth, picture) == {'PSNR': row['PSNR']}
            assert SSIM().measure(truth, picture) == {'SSIM': row['SSIM']}

    def test_what_was_measured_is_told_again(self, photos, pictures, folder):
        first = self.measured(photos[:2], pictures, folder)
        folder.write('sub/1.png.json', b'{"photo": "torn')

        second = self.measured(photos[:2], pictures, folder)

        assert (first.done, first.skipped, second.done, second.skipped) == (2, 0, 1, 1)
        assert sorted(second.figures, key=str) == sorted(first.figures, key=str)
        assert self.measured(photos[:2], pictures, folder, overwrite=True).done == 2

    def test_photos_that_cannot_be_measured_fail_alone(self, photos, pictures, tmp_path):
        small = planned(tmp_path / 'photos' / '9.png', np.zeros((6, 8, 3), np.uint8))
        Image.new('RGB', (8, 6)).save(tmp_path / 'coloured' / small.name)
        Image.new('RGB', (24, 32)).save(tmp_path / 'coloured' / photos[1].name)

        report = self.measured([*photos, small], pictures, Folder.at(tmp_path / 'figures'))

        assert report.done == 1
        second = f'{photos[1].source}: {tmp_path}/coloured/sub/2.png'
        assert sorted(failures(report)) == [
            ('measure', f'{small.source}: SSIM needs pictures of at least 7 x 7 pixels, but got 8 x 6'),
            ('measure', f'{second} has the shape (32, 24, 3), but its truth (24, 32, 3)'),
            ('missing', f'{photos[2].source}: cannot read {tmp_path}/coloured/sub/3.png: there is no such file'),
        ]

    def test_lpips_that_is_not_there_ends_the_run(self, tmp_path, monkeypatch):
        def missing(self):
            raise NotComputableError('there are no weights')

        monkeypatch.setattr(LPIPS, 'load', missing)
        task = EvaluateTask(Folder.at(tmp_path / 'out'), Folder.at(tmp_path), lpips=True)

        (told,) = Worker(task, None)({'id': [0]})['report']

        assert json.loads(told)['stop'] == 'LPIPS is not computed: there are no weights'

    def test_means_and_the_table_have_all_photos(self, photos, pictures, tmp_path, monkeypatch):
        pq = pytest.importorskip('pyarrow.parquet')
        task = EvaluateTask(Folder.at(tmp_path / 'figures'), pictures, pace=PACE)
        loaded = task.load()

        def reports(plan, task, *others):
            for index in range(len(plan)):
                report = done(task, loaded, plan.chunk(index, 1))
                yield Report.from_row({'report': report.as_row()['report'][0]})

        monkeypatch.setattr(archive, '_cluster', lambda options: nullcontext())
        monkeypatch.setattr(archive, '_num_workers', lambda options: 1)
        monkeypatch.setattr(archive, '_reports', reports)

        run_archive(tmp_path / 'photos', task)
        summary = run_archive(tmp_path / 'photos', task)

        rows = pq.read_table(tmp_path / 'figures' / FIGURES).to_pylist()
        assert (summary.done, summary.skipped, summary.failed) == (0, 2, {'missing': 1})
        assert list(rows[0]) == ['photo', 'coloured', *task.figures]
        assert sorted(row['photo'] for row in rows) == [photo.source for photo in photos[:2]]
        told = json.loads((tmp_path / 'figures' / SUMMARY).read_bytes())['figures']
        assert told == {name: pytest.approx(np.mean([row[name] for row in rows])) for name in task.figures}
        assert summary.told('measured', 'x').startswith('0 measured, 2 skipped (they exist; --overwrite')

    def test_figures_are_not_written_among_the_pictures(self, photos, pictures, tmp_path):
        task = EvaluateTask(Folder.at(tmp_path / 'coloured' / 'figures'), pictures)

        with pytest.raises(ValueError, match=r'target .*figures and the source .*coloured lie in each other'):
            run_archive(tmp_path / 'photos', task, beside=[pictures])
