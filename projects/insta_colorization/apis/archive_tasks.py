"""What an archive's job can do with photos: colour them, find their objects, or measure how near their colours are."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from insta_colorization.fileio.files import scratch_folder, temporary_folder
from insta_colorization.fileio.stores import Folder, StoredFile
from insta_colorization.imaging.photo import ENDS, is_whole
from insta_colorization.utils.errors import as_unicode, sentence
from insta_colorization.utils.memory import keep_between_photos
from insta_colorization.utils.options import ColourOptions, InputOptions, NetworkOptions, PaceOptions, ResultOptions

from .archive_manifest import BOXES_SUFFIX, PhotoRequest
from .archive_plan import Planned
from .archive_work import Report, RequestError, Task, Watch, in_parallel, stored
from .jobs import Job, checked_suffix, load, without_password

if TYPE_CHECKING:
    from insta_colorization.detectors import InstanceDetector
    from insta_colorization.evaluation.metrics import PhotoMetric
    from insta_colorization.fileio.boxes import Annotations
    from insta_colorization.fileio.hints import Wish
    from insta_colorization.structures import Instances

    from .pipeline import Steps
    from .predictor import Predictor

T = TypeVar('T')

# torch is for workers alone: tasks are made where there may be none, and import it in `load` and `do`.


@dataclass(frozen=True)
class ColorTask(Task):
    """Colours photos.

    Attributes:
        target: the folder of the results.
        predictor: arguments of `Predictor`.
        results: what is written; the record of each photo is in any case.
        colour: see `ColourOptions`.
        pace: how much a worker does at once.
        boxes: a folder as `DetectTask` makes it; None has the detector find the objects.
    """

    target: Folder
    predictor: Mapping[str, Any]
    results: ResultOptions
    colour: ColourOptions
    pace: PaceOptions
    boxes: Folder | None = None

    @property
    def suffix(self) -> str:
        """That of the format."""
        return checked_suffix(self.results.suffix)

    def load(self) -> 'Predictor':
        """The networks."""
        from .predictor import Predictor

        keep_between_photos(self.predictor.get('input_size'))
        return Predictor(**self.predictor)

    def do(self, loaded: 'Predictor', photos: Sequence[Planned], report: Report) -> None:
        """Colours photos, see `Task.do`."""
        from .album import color_album

        todo = photos if self.results.overwrite else _without_result(self.target, photos, report)
        local = self.target.path
        with temporary_folder() if local is None else scratch_folder(local) as staging:
            jobs = {_job_of(photo, staging / photo.name): photo for photo in todo}
            wishes = _wishes(jobs, report)
            boxes = _Boxes({job.name: address for job, photo in jobs.items() if (address := self._boxes_of(photo))})
            captions = {job.name: (text,) for job, photo in jobs.items() if (text := photo.said.caption)}
            watch = Watch(report, ('read', 'detect', 'colour', 'colour', 'write'))

            def publishing(steps: 'Steps') -> 'Steps':
                def finish(job: Job, coloured: Any) -> Any:
                    outcome = steps.finish(job, coloured)
                    self._publish(job, jobs[job], boxes.addresses.get(job.name))
                    return outcome

                return watch.around(steps._replace(finish=finish))

            outcomes = color_album(
                loaded,
                list(jobs),
                replace(self.results, out_dir=staging, save_json=True),
                self.colour,
                self.pace,
                'collect',
                hints=_Said(wishes) if any(wishes.values()) else None,
                captions=_Said(captions) if captions else None,
                boxes=boxes if boxes.addresses else None,
                around=publishing,
            )
        for job, outcome in zip(jobs, outcomes, strict=True):
            if outcome.record['status'] == 'failed':
                watch.failed(job, outcome.record['reason'])
            else:
                report.done += 1

    def _boxes_of(self, photo: Planned) -> str | None:
        """The address of the file of a photo's boxes, if they are known."""
        if photo.said.boxes is not None or self.boxes is None:
            return photo.said.boxes
        return self.boxes.file(photo.own + BOXES_SUFFIX).address

    def _publish(self, job: Job, photo: Planned, boxes: str | None) -> None:
        """Moves a photo and what belongs to it to the target; the photo itself comes last, see `ResultWriter`."""
        from .results import remove_old

        assert job.target is not None
        stored(job).require_same()
        name, written = photo.name, job.target
        beside = sorted(path for path in written.parent.iterdir() if path.name.startswith(f'{written.name}.'))
        for path in beside:
            own = name + path.name.removeprefix(written.name)
            if own == f'{name}.json':
                told = json.loads(path.read_bytes()) | {
                    'output': as_unicode(self.target.file(name).address),
                    'source': stored(job).seen,
                }
                if boxes is not None:
                    told['boxes_file'] = as_unicode(without_password(boxes))
                path.write_text(json.dumps(told, indent=1) + '\n')
            self.target.put(own, path)
        if self.target.path is not None:
            remove_old(self.target.path / name, [path.name.removeprefix(written.name) for path in beside])
        self.target.put(name, written)


@dataclass(frozen=True)
class DetectTask(Task):
    """Finds the objects of photos: a file of boxes for each, where `open_boxes` looks for it.

    Attributes:
        target: the folder of the files.
        detector: see `build_detector`, or a config of this project with a `detector`.
        score_thr: the minimum score; None for the detector's own.
        min_size: the minimum side, in pixels.
        top_k: how many there are at most, the best by score; None for all.
        masks: whether masks are written, too.
        device: for the detectors that have a choice.
        max_pixels: how many pixels a file may have, see `read_photo`.
        pace: how much a worker does at once.
        overwrite: whether files that exist are made again.
    """

    target: Folder
    detector: str
    score_thr: float | None = None
    min_size: float = 0.0
    top_k: int | None = None
    masks: bool = False
    device: str = NetworkOptions.device
    max_pixels: int = InputOptions.max_pixels
    pace: PaceOptions = field(default_factory=PaceOptions)
    overwrite: bool = False

    @property
    def suffix(self) -> str:
        """That of files of boxes."""
        return BOXES_SUFFIX

    def load(self) -> 'InstanceDetector':
        """The detector."""
        from insta_colorization.detectors import build_detector
        from insta_colorization.utils.device import resolve_device

        from .parallel_detection import detector_named

        device = resolve_device(self.device)
        return build_detector(detector_named(self.detector), device, masks=self.masks, score_thr=self.score_thr)

    def do(self, loaded: 'InstanceDetector', photos: Sequence[Planned], report: Report) -> None:
        """Finds the objects of photos, see `Task.do`."""
        from insta_colorization.detectors.selection import select
        from insta_colorization.fileio.boxes import npz_of

        from .pipeline import Steps, all_unchanged, one_unchanged

        def find(pairs: list[tuple[Job, Any]]) -> list['Instances']:
            found = loaded.detect([photo.rgb8 for _, photo in pairs], [job.name for job, _ in pairs])
            return [select(each, loaded.score_thr, self.min_size, self.top_k) for each in found]

        def finish(job: Job, found: 'Instances') -> None:
            data = npz_of(found, self.masks)
            stored(job).require_same()
            self.target.write(jobs[job].name, data)

        todo = photos if self.overwrite else _without_result(self.target, photos, report)
        jobs = {_job_of(photo): photo for photo in todo}
        steps = Steps(lambda job, _: load(stored(job), self.max_pixels), find, one_unchanged, all_unchanged, finish)
        for _ in _through(jobs, steps, ('read', 'detect', 'detect', 'detect', 'write'), self.pace, report):
            pass


@dataclass(frozen=True)
class EvaluateTask(Task):
    """Compares coloured photos with their true colours: figures of each as JSON, named after the coloured one.

    The photos of the plan are those in true colours; the coloured ones are called as `ColorTask` calls their results.

    Attributes:
        target: the folder of the figures.
        coloured: that of the coloured photos.
        format: of those, see `checked_suffix`.
        lpips: whether LPIPS is measured, too.
        device: for LPIPS.
        max_pixels: how many pixels a file may have, see `read_photo`.
        pace: how much a worker does at once.
        overwrite: whether figures that exist are made again.
    """

    target: Folder
    coloured: Folder
    format: str = ResultOptions.suffix
    lpips: bool = False
    device: str = NetworkOptions.device
    max_pixels: int = InputOptions.max_pixels
    pace: PaceOptions = field(default_factory=PaceOptions)
    overwrite: bool = False

    stages = ('read', 'measure', 'write')

    @property
    def suffix(self) -> str:
        """That of the coloured photos."""
        return checked_suffix(self.format)

    @property
    def figures(self) -> tuple[str, ...]:
        """See `evaluation.comparison.compare`."""
        return 'ab_error', 'ab_error_of_grey', 'CF', 'CF_truth', 'PSNR', 'SSIM', *(('LPIPS',) if self.lpips else ())

    def load(self) -> list['PhotoMetric']:
        """The metrics."""
        import torch

        from insta_colorization.evaluation.metrics import LPIPS, PSNR, SSIM
        from insta_colorization.evaluation.metrics.base import NotComputableError
        from insta_colorization.utils.device import resolve_device

        metrics: list[PhotoMetric] = [PSNR(), SSIM()]
        if self.lpips:
            lpips = LPIPS()
            lpips.device = torch.device(resolve_device(self.device))
            try:
                _ = lpips.network
            except NotComputableError as error:
                raise ImportError(f'LPIPS is not computed: {error}') from error
            metrics.append(lpips)
        return metrics

    def do(self, loaded: list['PhotoMetric'], photos: Sequence[Planned], report: Report) -> None:
        """Compares photos, see `Task.do`; those that have figures are told with them."""
        from insta_colorization.evaluation.comparison import compare

        from .pipeline import Steps, all_unchanged

        def read(job: Job, _: None) -> Any:
            return tuple(load(file, self.max_pixels).rgb8 for file in (self._coloured(jobs[job]), stored(job)))

        def measure(job: Job, pictures: Any) -> dict[str, float]:
            coloured, truth = pictures
            if coloured.shape != truth.shape:
                name = without_password(self._coloured(jobs[job]).address)
                raise ValueError(f'{name} has the shape {coloured.shape}, but its truth {truth.shape}')
            return compare(coloured, truth, loaded)

        def finish(job: Job, figures: dict[str, float]) -> dict[str, Any]:
            stored(job).require_same()
            coloured = without_password(self._coloured(jobs[job]).address)
            row = {'photo': as_unicode(job.name), 'coloured': as_unicode(coloured), **figures}
            self.target.write(f'{jobs[job].name}.json', (json.dumps(row, indent=1) + '\n').encode())
            return row

        known = [None] * len(photos) if self.overwrite else in_parallel(self._known, photos)
        report.figures += [row for row in known if row is not None]
        report.skipped += len(photos) - known.count(None)
        jobs = {_job_of(photo): photo for photo, row in zip(photos, known, strict=True) if row is None}
        steps = Steps(read, all_unchanged, measure, all_unchanged, finish)
        stages = ('read', 'measure', 'measure', 'measure', 'write')
        report.figures += _through(jobs, steps, stages, self.pace, report)

    def _coloured(self, photo: Planned) -> StoredFile:
        return self.coloured.file(photo.name)

    def _known(self, photo: Planned) -> dict[str, Any] | None:
        """The figures that a photo has already, if they are all that is measured."""
        try:
            row = json.loads(self.target.file(f'{photo.name}.json').read())
        except (FileNotFoundError, ValueError):
            return None
        return row if isinstance(row, dict) and row.keys() == {'photo', 'coloured', *self.figures} else None


def _through(
    jobs: Mapping[Job, Planned], steps: 'Steps', stages: Sequence[str], pace: PaceOptions, report: Report
) -> Iterator[Any]:
    """Takes photos through steps; yields what the last one returned for those that are done."""
    from .pipeline import Failures, convey

    watch, failures = Watch(report, stages), Failures(collect=True)
    for _, value in convey(jobs, watch.around(steps), pace, pace.threads(len(jobs)), failures):
        report.done += 1
        yield value
    for job, reason in failures.reasons.items():
        watch.failed(job, reason)


def _job_of(photo: Planned, target: Path | None = None) -> Job:
    name, page = without_password(photo.source), photo.said.page
    if page is None:
        return Job(StoredFile(photo.source), target, name)
    return Job(StoredFile(photo.source, page - 1), target, f'{name} (page {page})')


def _without_result(target: Folder, photos: Sequence[Planned], report: Report) -> list[Planned]:
    """The photos that have no whole result yet; the others are counted as skipped."""
    there = in_parallel(lambda photo: _exists(target.file(photo.name)), photos)
    report.skipped += sum(there)
    return [photo for photo, exists in zip(photos, there, strict=True) if not exists]


def _exists(file: StoredFile) -> bool:
    """Whether there is a result that is not empty and ends as its format says."""
    size, head, tail = file.ends(ENDS)
    return size > 0 and is_whole(size, head, tail)


@dataclass(frozen=True)
class _Said(Generic[T]):
    """What is said about some of the photos of a chunk, by their names."""

    entries: Mapping[str, tuple[T, ...]]

    def check(self, photos: Sequence[str]) -> None:
        """Nothing is missing: each photo has its own."""

    def of(self, photo: str) -> tuple[T, ...]:
        return self.entries.get(photo, ())


@dataclass(frozen=True)
class _Boxes:
    """Files of boxes of some of the photos of a chunk, which are read when the photos are searched."""

    addresses: Mapping[str, str]

    def check(self, photos: Sequence[str]) -> None:
        """Nothing is missing: a file that is not there fails its photo."""

    def of(self, photo: str) -> tuple['Annotations', ...]:
        from insta_colorization.fileio.boxes import read_npz

        if photo not in self.addresses:
            return ()
        return (_used(self.addresses[photo], lambda data: read_npz(data, masks=True)),)


def _wishes(jobs: dict[Job, Planned], report: Report) -> dict[str, tuple['Wish', ...]]:
    """The hints of photos by their names; those whose hints cannot be used are reported and leave the jobs."""

    def read(said: PhotoRequest) -> tuple['Wish', ...] | RequestError:
        try:
            return _wishes_of(said)
        except RequestError as error:
            return error

    wishes: dict[str, tuple[Wish, ...]] = {}
    found = in_parallel(read, [photo.said for photo in jobs.values()])
    for job, own in zip(list(jobs), found, strict=True):
        if isinstance(own, RequestError):
            report.fail(job.name, 'request', sentence(own))
            del jobs[job]
        else:
            wishes[job.name] = own
    return wishes


def _wishes_of(said: PhotoRequest) -> tuple['Wish', ...]:
    """Raises `RequestError` if there is no such file, or it is none of hints."""
    from insta_colorization.fileio.hints import parse_wishes

    if isinstance(said.hints, str):
        return _used(said.hints, lambda data: parse_wishes(_list_of(data), 'the file'))
    return parse_wishes(said.hints or (), '`hints`')


def _list_of(data: bytes) -> list[Any]:
    try:
        found = json.loads(data)
    except (RecursionError, ValueError) as error:
        raise ValueError(f'it is not JSON: {error}') from error
    if not isinstance(found, list):
        raise ValueError(f'it must have a list of hints, but has {str(found)[:80]}')
    return found


def _used(address: str, parse: Callable[[bytes], T]) -> T:
    """What a file says about a photo.

    Raises:
        RequestError: it cannot be read or used.
    """
    try:
        return parse(StoredFile(address).read())
    except OSError as error:
        raise RequestError(without_password(sentence(error))) from error
    except ValueError as error:
        raise RequestError(f'{without_password(address)}: {sentence(error)}') from error
