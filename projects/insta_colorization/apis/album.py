"""Inference for many photos: those that have a result are skipped, the others go through the pipeline."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from insta_colorization.fileio.boxes import Annotations
from insta_colorization.fileio.entries import Entries
from insta_colorization.fileio.files import sweep
from insta_colorization.fileio.hints import Wish, names_objects
from insta_colorization.imaging.maps import Maps
from insta_colorization.imaging.photo import Photo, require_end
from insta_colorization.models.insta.inspection import fusion_rows
from insta_colorization.structures import ColorizationSample, Instances, Request
from insta_colorization.utils.options import ColourOptions, PaceOptions, ResultOptions

from .edits import EditFile
from .jobs import Job
from .marking import Marker
from .pipeline import Failures, Prepared, Steps, convey
from .predictor import Predictor
from .results import ResultWriter, make_folder

logger = logging.getLogger(__name__)

OnError = Literal['raise', 'collect']


@dataclass(frozen=True, eq=False)
class Outcome:
    """The outcome for one photo.

    Attributes:
        record: `photo`, `output` and `status` (done, skipped or failed); with the `reason` if it failed, and the
            fields of `Prediction.record` if it is done.
        sample: on the CPU; None unless the photo is done and samples are kept.
        pixels: the picture, (H, W, 3) RGB; None unless the photo is done and was not written.
    """

    record: dict[str, Any]
    sample: ColorizationSample | None = None
    pixels: np.ndarray | None = None


def color_album(
    predictor: Predictor,
    jobs: Sequence[Job],
    results: ResultOptions,
    colour: ColourOptions,
    pace: PaceOptions,
    on_error: OnError = 'raise',
    on_progress: Callable[[int, int], object] = lambda done, total: None,
    keep_samples: bool = False,
    hints: Entries[Wish] | None = None,
    maps: Maps | None = None,
    captions: Entries[str] | str | None = None,
    edits: EditFile | None = None,
    boxes: Entries[Annotations] | None = None,
    around: Callable[[Steps], Steps] = lambda steps: steps,
) -> list[Outcome]:
    """Colours photos; if they are written, memory use does not grow with their number.

    Errors in the arguments, the detector or the output folder are raised before the first photo. Existing results are
    kept, but empty ones are written again, and a truncated one fails its photo.

    Args:
        predictor: runs inference.
        jobs: the photos, from `plan`.
        results: what is written; photos without a target are returned instead.
        colour: see `ColourOptions`.
        pace: see `PaceOptions`.
        on_error: 'raise' the first error, or 'collect': log errors, put them into the records and continue.
        on_progress: called with the number of photos done, skipped or failed, and the total.
        keep_samples: whether outcomes have their samples, which take memory for each photo.
        hints: the user's colours for places in the photos.
        maps: the user's classes of the photos' pixels.
        captions: texts that say which colours things have; a single text applies to all photos.
        edits: manual corrections, instead of the three above.
        boxes: what is known of photos that the detector then does not see.
        around: wraps the steps that photos go through, to time or extend them.

    Returns:
        The outcome for each photo, in order.

    Raises:
        FileNotFoundError: a file that the detector needs is missing.
        OSError: the output folder cannot be written.
        ValueError: an argument is out of range, or, with 'raise', a photo cannot be coloured.
    """
    if on_error not in ('raise', 'collect'):
        raise ValueError(f"on_error must be 'raise' or 'collect', but got {on_error!r}")
    fusion_rows(predictor.model, results.show_fusion)
    if 'map' not in predictor.model.uses and (results.save_map or results.show_map):
        raise ValueError(f'{type(predictor.model).__name__} knows no classes of pixels, so there is no map to write')
    marker = Marker(results)
    if results.out_dir is not None and any(job.target for job in jobs):
        make_folder(Path(results.out_dir))
    for folder in {job.target.parent for job in jobs if job.target}:
        sweep(folder)
    names = [job.name for job in jobs]
    wishes: dict[str, tuple[Wish, ...]] = {}
    if hints is not None:
        hints.check(names)
        wishes = {name: hints.of(name) for name in names}
    if maps is not None:
        predictor.check(Request(map=np.zeros((1, 1), np.uint8)))
        maps.check(names)
    texts: dict[str, str] = {}
    if isinstance(captions, str):
        texts = dict.fromkeys(names, captions)
    elif captions is not None:
        captions.check(names)
        texts = {name: own[0] for name in names if (own := captions.of(name))}
    for text in set(texts.values()):
        predictor.check(Request(caption=text, native=colour.native_size))
    about_objects = any(map(predictor.steers, texts.values())) or any(map(names_objects, wishes.values()))
    if edits is not None:
        _check_edits(edits, names, colour, (hints, maps, captions))
    about_objects |= edits is not None or boxes is not None
    detect = predictor.detects or results.show_instances or results.save_json or about_objects
    if boxes is not None:
        boxes.check(names)
    elif detect and jobs:
        # A detector that looks boxes up checks at once whether it knows any of the photos.
        getattr(predictor.detector, 'check', lambda names: None)(names)
    writer = ResultWriter(
        results.show_instances,
        results.save_json,
        results.save_map,
        results.show_map,
        results.quality,
        results.keep_times,
        marker,
    )

    def read(job: Job, _: None) -> Photo:
        return predictor.read(job.source, job.name)

    def find(photos: list[tuple[Job, Photo]]) -> list[tuple[Photo, Instances]]:
        if edits is not None and len(photos) > 1:
            return [found for each in photos for found in find([each])]
        read, names = [photo for _, photo in photos], [job.name for job, _ in photos]
        if not detect or (edits is not None and edits.edit_of(names[0]).objects is not None):
            return [(photo, Instances.empty(photo.size)) for photo in read]
        known = {name: own[0] for name in names if boxes is not None and (own := boxes.of(name))}
        others = [pair for pair in photos if pair[0].name not in known]
        found = iter(detected(others) if others else ())
        return [
            (photo, given(name, photo, known[name]) if name in known else next(found))
            for photo, name in zip(read, names, strict=True)
        ]

    def detected(photos: list[tuple[Job, Photo]]) -> list[Instances]:
        return predictor.find([photo for _, photo in photos], [job.name for job, _ in photos], colour.native_size)

    def given(name: str, photo: Photo, known: Annotations) -> Instances:
        masks = 'masks' in predictor.model.uses or name in texts or bool(wishes.get(name))
        lowest = predictor.objects.score_thr or 0.0
        return predictor.choose(known.on(photo.size, masks), lowest, colour.native_size)

    def pack(job: Job, found: tuple[Photo, Instances]) -> Prepared:
        if edits is not None:
            return Prepared(found[0], edits.edit_of(job.name).pack(predictor, *found, job.name))
        own = None if maps is None else maps.of(job.name, found[0].size)
        request = Request(found[1], map=own, caption=texts.get(job.name), native=colour.native_size)
        request = predictor.wish(found[0], request, wishes.get(job.name, ()))
        return Prepared(found[0], predictor.pack(found[0], request, job.name))

    def color(items: list[tuple[Job, Prepared]]) -> list[tuple[Photo, ColorizationSample]]:
        if edits is not None and len(items) > 1:
            return [coloured for item in items for coloured in color([item])]
        with predictor.decoding(None if edits is None else edits.edit_of(items[0][0].name).preset):
            samples = predictor.color([item.data for _, item in items], results.show_fusion, exact=colour.native_size)
        return [(item.photo, sample) for (_, item), sample in zip(items, samples, strict=True)]

    def finish(job: Job, coloured: tuple[Photo, ColorizationSample]) -> Outcome:
        wanted = colour if edits is None else edits.edit_of(job.name).colour(colour)
        prediction = predictor.finish(*coloured, wanted)
        kept = prediction.sample.to('cpu') if keep_samples else None
        if job.target is None:
            return Outcome(prediction.record, kept, prediction.pixels)
        return Outcome(writer.write(prediction, job.target, job.file), kept)

    failures = Failures(collect=on_error == 'collect')
    done: dict[Job, Outcome] = {}
    outdated: list[Job] = []

    def missing(job: Job) -> bool:
        # A power failure can leave an empty file.
        if job.target is None or results.overwrite or not job.target.is_file() or not job.target.stat().st_size:
            return True
        with failures.of(job):
            require_end(job.target)
            done[job] = Outcome(_record(job, 'skipped'))
            if job.file is not None and job.file.stat().st_mtime_ns > job.target.stat().st_mtime_ns:
                outdated.append(job)
        return False

    steps = around(Steps(read, find, pack, color, finish))
    for job, outcome in convey(filter(missing, jobs), steps, pace, pace.threads(len(jobs)), failures):
        done[job] = outcome
        on_progress(len(done) + len(failures.reasons), len(jobs))
    for job, reason in failures.reasons.items():
        done[job] = Outcome(_record(job, 'failed') | {'reason': reason})
    on_progress(len(done), len(jobs))
    if outdated:
        logger.warning(
            '%d results are older than their photos, %s first; --overwrite makes them again',
            len(outdated),
            outdated[0].name,
        )
    return [done[job] for job in jobs]


def _check_edits(edits: EditFile, names: Sequence[str], colour: ColourOptions, others: Sequence[object]) -> None:
    if any(other is not None for other in others):
        raise ValueError(f'{edits.path} says all about its photos: it excludes hints, maps and captions of their own')
    if colour.native_size:
        raise ValueError(f'native_size is what the published code writes, and {edits.path} changes it: choose one')
    edits.check(names)


def _record(job: Job, status: str) -> dict[str, Any]:
    return {'photo': job.name, 'output': None if job.target is None else str(job.target), 'status': status}
