"""From many photos to a COCO file of their instances, which `CachedDetector` and pycocotools read."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from insta_colorization.detectors import InstanceDetector
from insta_colorization.detectors.selection import select
from insta_colorization.fileio.boxes import UNKNOWN, coco_masks, read_coco
from insta_colorization.imaging.photo import load_rgb
from insta_colorization.structures import COCO_IDS, Instances
from insta_colorization.utils.errors import sentence
from insta_colorization.utils.options import InputOptions

from .jobs import plan

logger = logging.getLogger(__name__)

# Corners are written in multiples of 1/64 pixel, rounded down: their differences and sums are then exact in float32, so
# that the file's x, y, width and height give the very same corners, and each stays in its pixel.
_PARTS_OF_A_PIXEL = 64


class ListedPhoto(NamedTuple):
    """A photo of a run: its file, its `file_name` and its id in the COCO file."""

    path: Path
    name: str
    id: int


class PhotoList(NamedTuple):
    """The photos of a run, the folder that their names are relative to and the categories of the COCO file, by name."""

    folder: Path
    photos: list[ListedPhoto]
    categories: Mapping[str, int] = {}


class Selection(NamedTuple):
    """Which instances are written; see `selection.select`."""

    score_thr: float
    min_size: float = 0.0
    top_k: int | None = None
    masks: bool = False


def list_photos(inputs: Sequence[str | Path], data_root: Path | None = None, recursive: bool = False) -> PhotoList:
    """Lists the photos behind the inputs; the order and the ids of the same inputs are always the same.

    Args:
        inputs: photos, folders and patterns, or one COCO `.json` whose `images` are meant and whose ids they keep.
        data_root: the folder of the photos of a `.json`; None for the one it lies in.
        recursive: whether folders are searched to their depths.

    Raises:
        FileNotFoundError: an input does not exist.
        ValueError: there is no photo, or the arguments or the `.json` are none that can be used.
    """
    if any(str(item).endswith('.json') for item in inputs):
        if len(inputs) > 1:
            raise ValueError(f'a COCO .json is the only input, but got {len(inputs)}: {", ".join(map(str, inputs))}')
        return _photos_of_coco(Path(inputs[0]), data_root)
    if data_root is not None:
        raise ValueError(f'the data root {data_root} is for the photos of a COCO .json, but the input is {inputs[0]}')
    jobs = plan(inputs, recursive=recursive)
    urls = [job.name for job in jobs if not isinstance(job.source, Path)]
    if urls:
        raise ValueError(f'photos come from files, folders and COCO .json files, but got {urls[0]}')
    paths = [Path(os.path.abspath(job.name)) for job in jobs]
    given = [Path(item).expanduser() for item in inputs]
    folders = {Path(os.path.abspath(path)) for path in given if path.is_dir()}
    loose = {path.parent for path in paths if not folders.intersection(path.parents)}
    base = Path(os.path.commonpath(folders | loose))
    names = [path.relative_to(base).as_posix() for path in paths]
    return PhotoList(base, [ListedPhoto(*item) for item in zip(paths, names, range(1, len(paths) + 1), strict=True)])


def _photos_of_coco(file: Path, data_root: Path | None) -> PhotoList:
    folder = Path(os.path.abspath(file.parent if data_root is None else data_root))
    content = read_coco(file, folder)
    images = [(image['file_name'], image['id']) for image in content['images']]
    categories = {item['name']: item['id'] for item in content['categories']}
    for position, kind in enumerate(('file_name', 'id')):
        if len({image[position] for image in images}) < len(images):
            raise ValueError(f'two of the {len(images)} images of {file} have the same {kind}')
    photos = [ListedPhoto(folder / name, name, number) for name, number in images]
    if not any(photo.path.is_file() for photo in photos):
        example = f', such as {photos[0].path}' if photos else ''
        raise ValueError(f'{file} names {len(photos)} photos, of which 0 are in {folder}{example}')
    return PhotoList(folder, photos, categories)


def detect_photos(
    detector: InstanceDetector,
    photos: Sequence[ListedPhoto],
    selection: Selection,
    batch_size: int = 1,
    max_pixels: int = InputOptions.max_pixels,
) -> Iterator[tuple[ListedPhoto, dict[str, Any] | str]]:
    """Finds the instances of photo after photo.

    Args:
        detector: finds them.
        photos: where to look.
        selection: which ones are kept.
        batch_size: how many photos the detector gets at once.
        max_pixels: how many pixels a photo may have, see `load_rgb`.

    Yields:
        The photo with its record, or with the reason why there is none; the other photos are not affected.

    Raises:
        ImportError: the detector needs a library that is not installed.
    """
    for start in range(0, len(photos), batch_size):
        batch = photos[start : start + batch_size]
        found = _try(detector, batch, selection, max_pixels)
        if isinstance(found, str) and len(batch) > 1:
            results = [_try(detector, [photo], selection, max_pixels) for photo in batch]
            yield from (
                (photo, one if isinstance(one, str) else one[0]) for photo, one in zip(batch, results, strict=True)
            )
        else:
            yield from zip(batch, [found] if isinstance(found, str) else found, strict=True)


def _try(
    detector: InstanceDetector, photos: Sequence[ListedPhoto], selection: Selection, max_pixels: int
) -> list[dict[str, Any]] | str:
    """The records of these photos, or the reason why one of them has none."""
    try:
        images = [load_rgb(photo.path, max_pixels) for photo in photos]
        found = detector.detect(images, [str(photo.path) for photo in photos])
        return [_record(photo.name, instances, selection) for photo, instances in zip(photos, found, strict=True)]
    except ImportError:  # a library that lacks here lacks for every photo
        raise
    except Exception as error:
        logger.debug('%s', photos[0].path, exc_info=error)
        return sentence(error)


def _record(name: str, instances: Instances, selection: Selection) -> dict[str, Any]:
    """What the file says about one photo, in JSON's types; without the ids."""
    height, width = instances.image_size[0].tolist()
    kept = select(instances, selection.score_thr, selection.min_size, selection.top_k)
    corners = np.floor(kept.boxes.double().cpu().numpy() * _PARTS_OF_A_PIXEL) / _PARTS_OF_A_PIXEL
    sizes = np.maximum(corners[:, 2:] - corners[:, :2], 1 / _PARTS_OF_A_PIXEL)
    annotations = [
        # A float32 has a short decimal form of its own, which as a Python float it would lose.
        {'category': name, 'bbox': [*corner, *size], 'area': size[0] * size[1], 'score': float(str(score))}
        for name, corner, size, score in zip(
            _names(kept), corners[:, :2].tolist(), sizes.tolist(), kept.scores.cpu().numpy(), strict=True
        )
    ]
    if selection.masks and kept.masks is not None:
        for number, annotation in enumerate(annotations):
            mask = kept.whole_mask(number)
            annotation |= {'segmentation': _rle(mask), 'area': int(mask.sum())}
    return {'file_name': name, 'width': width, 'height': height, 'annotations': annotations}


def _names(instances: Instances) -> list[str]:
    labels = [-1] * len(instances) if instances.labels is None else instances.labels.tolist()
    return [UNKNOWN if label < 0 else instances.classes[label] for label in labels]


def _rle(mask: Tensor) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask (H, W) bool."""
    runs = coco_masks().encode(np.asfortranarray(mask.cpu().numpy(), np.uint8))
    return {'size': [int(side) for side in runs['size']], 'counts': runs['counts'].decode('ascii')}


def coco_annotations(
    photos: Sequence[ListedPhoto],
    records: Mapping[str, dict[str, Any]],
    info: Mapping[str, Any],
    categories: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The content of a COCO annotation file.

    Args:
        photos: in the order of the file.
        records: {name: record} from `detect_photos`; photos without one are left out.
        info: how the instances were found.
        categories: {name: id} that are given; without any, COCO's with their official ids if one of them was found.
            Others that were found are numbered on.
    """
    ids = _category_ids(records, categories)
    images = [
        {'id': photo.id, **{key: records[photo.name][key] for key in ('file_name', 'width', 'height')}}
        for photo in photos
        if photo.name in records
    ]
    annotations = [
        {'id': number, **annotation, 'iscrowd': 0}
        for number, annotation in enumerate(_annotations(photos, records, ids), start=1)
    ]
    listed = [{'id': number, 'name': name} for name, number in ids.items()]
    return {'info': dict(info), 'images': images, 'annotations': annotations, 'categories': listed}


def coco_results(
    photos: Sequence[ListedPhoto],
    records: Mapping[str, dict[str, Any]],
    categories: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """The content of a COCO result file; arguments as for `coco_annotations`."""
    annotations = _annotations(photos, records, _category_ids(records, categories))
    return [{key: value for key, value in annotation.items() if key != 'area'} for annotation in annotations]


def _category_ids(records: Mapping[str, dict[str, Any]], given: Mapping[str, int] | None) -> dict[str, int]:
    found = {annotation['category'] for record in records.values() for annotation in record['annotations']}
    ids = dict(given or (COCO_IDS if not found or found & COCO_IDS.keys() else {}))
    for name in sorted(found - ids.keys()):
        ids[name] = max(ids.values(), default=0) + 1
    return ids


def _annotations(
    photos: Sequence[ListedPhoto], records: Mapping[str, dict[str, Any]], ids: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    for photo in photos:
        for annotation in records.get(photo.name, {'annotations': []})['annotations']:
            entry = dict(annotation)
            yield {'image_id': photo.id, 'category_id': ids[entry.pop('category')], **entry}
