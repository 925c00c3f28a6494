"""Boxes from files: COCO annotations, COCO results, and the `.npz` files of the published code."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from insta_colorization.registry import MODELS
from insta_colorization.structures import Instances, Size

from .base import check_image, image_size

logger = logging.getLogger(__name__)


class _Found(NamedTuple):
    """Boxes (R, 4) xyxy in photo pixels, scores (R,) and masks (R, H, W) or None, as the file has them."""

    boxes: np.ndarray
    scores: np.ndarray
    masks: Tensor | None = None


class _Source(Protocol):
    """A kind of file; an entry is the part of it that belongs to one photo."""

    def entry_of(self, photo: Path) -> Any: ...

    def read(self, entry: Any, size: Size) -> _Found: ...

    def names(self) -> list[str]: ...


@MODELS.register_module()
class CachedDetector:
    """Looks boxes up instead of detecting them.

    Photos are found in a COCO file by their path as far as it is written there, then by their file name. A photo that
    is not there has no instances. Crowds are left out. Boxes of a JSON whose `width` and `height` are a multiple of the
    photo's are scaled with it.

    Args:
        path: a COCO annotation file (`.json` with `images` and `annotations`), a COCO result file (`.json` with a
            list), an `.npz` with `bbox` (R, 4) xyxy and `scores` (R,) for a single photo, or a folder of those, named
            after the photo's full file name (`photo.jpg.npz`) or its stem (`photo.npz`).
        image_file: the annotation file that gives the photos' ids their file names; for result files only.
        masks: whether to read `segmentation` (polygons or RLE) as well; without one the mask is the box.
        score_thr: see `InstanceDetector`. Boxes without scores count as 1.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is not of one of these kinds.
    """

    def __init__(
        self,
        path: str | Path,
        image_file: str | Path | None = None,
        masks: bool = False,
        score_thr: float = 0.0,
    ) -> None:
        self.path = Path(path)
        self.score_thr = score_thr
        self._source = _open(self.path, None if image_file is None else Path(image_file), masks)
        self._owners: dict[Any, str] = {}

    def check(self, paths: Sequence[str]) -> None:
        """Looks all photos of a run up before it begins, and logs how many have boxes.

        Args:
            paths: the files of all photos.

        Raises:
            ValueError: none of the photos is in the file, or two of them would share one entry.
        """
        matched = sum(self._claim(path) is not None for path in paths)
        if paths and not matched:
            names = self._source.names()
            example = f', such as {names[0]}' if names else ''
            raise ValueError(
                f'{self.path} has {len(names)} file names{example}, and 0 of the {len(paths)} photos matched, '
                f'such as {paths[0]}'
            )
        if matched < len(paths):
            logger.warning('%s has boxes for %d of the %d photos', self.path, matched, len(paths))

    def detect(self, images: list[np.ndarray], paths: Sequence[str] | None = None) -> list[Instances]:
        """Looks each photo up by its path; see `InstanceDetector.detect`.

        Raises:
            ValueError: `paths` is missing or not as long as `images`, two photos would share one entry, or a box is not
                finite or is inverted.
        """
        if paths is None:
            if not isinstance(self._source, _NpzFile) or len(images) != 1:
                raise ValueError(f'the boxes in {self.path} are found by the path of each photo, but none was given')
            paths = [str(self.path.with_suffix(''))]
        return [self._lookup(image, path) for image, path in zip(images, paths, strict=True)]

    def _claim(self, path: str) -> Any:
        photo = Path(os.path.abspath(path))
        entry = self._source.entry_of(photo)
        if entry is None:
            return None
        owner = self._owners.setdefault(entry, str(photo))
        if owner != str(photo):
            name = self._source_name(entry)
            raise ValueError(f'{owner} and {photo} would share the boxes of {name}; give each photo its own')
        return entry

    def _source_name(self, entry: Any) -> str:
        return str(entry) if isinstance(entry, Path) else f'one entry of {self.path}'

    def _lookup(self, image: np.ndarray, path: str) -> Instances:
        check_image(image)
        size = image_size(image)
        entry = self._claim(path)
        if entry is None:
            return Instances.empty(size)
        try:
            found = self._source.read(entry, size)
            if not np.isfinite(found.scores).all():
                raise ValueError(f'scores must be finite, but got {found.scores.tolist()}')
            instances = Instances.clipped(found.boxes, size, found.scores, found.masks)
        except ValueError as error:
            file = entry if isinstance(entry, Path) else self.path
            raise ValueError(f'{file}, photo {Path(path).name}: {error}') from error
        dropped = len(found.boxes) - len(instances)
        if dropped:
            logger.warning(
                '%s, photo %s: dropped %d of %d boxes that have no area inside the photo',
                self.path,
                Path(path).name,
                dropped,
                len(found.boxes),
            )
        return instances


def _open(path: Path, image_file: Path | None, masks: bool) -> _Source:
    if path.is_dir():
        return _NpzFolder(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no file or folder of boxes {path}')
    if path.suffix == '.npz':
        return _NpzFile(path)
    if path.suffix == '.json':
        return _CocoFile(path, image_file, masks)
    raise ValueError(f'boxes are read from .json, from .npz or from a folder of .npz, but got {path}')


def _tails(photo: Path) -> Iterator[Path]:
    """The photo's path, then without its first folder and so on, down to its file name."""
    parts = photo.relative_to(photo.anchor).parts
    return (Path(*parts[start:]) for start in range(len(parts)))


class _NpzFile:
    """One photo's file, whatever the photo is called."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entry_of(self, photo: Path) -> Path:
        return self._path

    def read(self, entry: Path, size: Size) -> _Found:
        try:
            with np.load(entry, allow_pickle=False) as arrays:
                contents = {name: arrays[name] for name in arrays.files}
        except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on damaged files
            raise ValueError(f'the .npz cannot be read: {error}') from error
        if 'bbox' not in contents:
            raise ValueError(f'the .npz must hold `bbox`, but holds {sorted(contents)}')
        boxes = contents['bbox']
        if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
            raise ValueError(f'`bbox` must have shape (R, 4), but got {boxes.shape}')
        boxes = boxes.reshape(-1, 4)
        scores = contents.get('scores', np.ones(len(boxes)))
        if scores.shape != (len(boxes),):
            raise ValueError(f'`scores` must have shape ({len(boxes)},) as `bbox` has, but got {scores.shape}')
        return _Found(_as_float(boxes), _as_float(scores))

    def names(self) -> list[str]:
        return [self._path.name]


def _as_float(values: Any) -> np.ndarray:
    try:
        return np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f'boxes and scores must be numbers, but got {values}') from error


class _NpzFolder(_NpzFile):
    def entry_of(self, photo: Path) -> Path | None:  # type: ignore[override]
        for tail in _tails(photo):
            for name in (f'{tail}.npz', tail.with_suffix('.npz')):
                if (self._path / name).is_file():
                    return self._path / name
        return None

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self._path)) for path in self._path.rglob('*.npz'))


class _CocoFile:
    def __init__(self, path: Path, image_file: Path | None, masks: bool) -> None:
        content = _load_json(path)
        if isinstance(content, list):
            if image_file is None:
                raise ValueError(
                    f'{path} is a list of results, which has image ids only: give the annotation file with their names '
                    f'as well ({path.name}:ANNOTATIONS.json)'
                )
            annotations, images = content, _section(_load_json(image_file), 'images', image_file)
        else:
            annotations, images = _section(content, 'annotations', path), _section(content, 'images', path)
        self._masks = masks
        self._images: dict[Any, dict] = {}
        self._ids_by_name: dict[str, list] = {}
        self._ids_by_file_name: dict[str, list] = {}
        self._annotations: dict[Any, list[dict]] = {}
        try:
            for image in images:
                self._add_image(image)
            for annotation in annotations:
                self._annotations.setdefault(annotation['image_id'], []).append(annotation)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{path} is not in COCO format: an entry lacks {error}') from error

    def _add_image(self, image: dict) -> None:
        name = image['file_name']
        self._images[image['id']] = image
        self._ids_by_name.setdefault(str(Path(name)), []).append(image['id'])
        self._ids_by_file_name.setdefault(Path(name).name, []).append(image['id'])

    def entry_of(self, photo: Path) -> Any:
        by_path = next((ids for tail in _tails(photo) if (ids := self._ids_by_name.get(str(tail)))), None)
        ids = by_path or self._ids_by_file_name.get(photo.name, [])
        if len(ids) > 1:
            names = [self._images[i]['file_name'] for i in ids[:3]]
            raise ValueError(f'{photo} matches {len(ids)} entries of the boxes file: {", ".join(names)}')
        return ids[0] if ids else None

    def names(self) -> list[str]:
        return list(self._ids_by_name)

    def read(self, entry: Any, size: Size) -> _Found:
        annotations = [item for item in self._annotations.get(entry, []) if not item.get('iscrowd', 0)]
        image = self._images[entry]
        frame = _frame(image, size)
        boxes = np.array([_bbox(item) for item in annotations], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        scores = _as_float([item.get('score', 1.0) for item in annotations])
        masks = _masks(annotations, boxes, frame, size) if self._masks else None
        scale = np.array([size[1] / frame[1], size[0] / frame[0]] * 2, np.float32)
        return _Found(boxes * scale, scores, masks)


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise FileNotFoundError(f'there is no annotation file {path}') from error
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error


def _section(content: Any, name: str, path: Path) -> list:
    if not isinstance(content, dict) or not isinstance(content.get(name), list):
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{path} is not in COCO format: it must have a list `{name}`, but has {found}')
    return content[name]


def _bbox(annotation: dict) -> np.ndarray:
    values = annotation.get('bbox')
    if not isinstance(values, list) or len(values) != 4:
        raise ValueError(f'`bbox` must be [x, y, width, height], but got {values}')
    return _as_float(values)


def _frame(image: dict, size: Size) -> Size:
    """The size that the boxes refer to: the photo's, or that of the copy it was scaled from or to.

    Raises:
        ValueError: the file describes a photo of another shape, so its boxes would land anywhere (a cropped copy, or
            one turned by its EXIF tag).
    """
    height, width = image.get('height'), image.get('width')
    if not height or not width or (height, width) == size:
        return size
    scale = max(size) / max(height, width)
    if abs(height * scale - size[0]) > 1 or abs(width * scale - size[1]) > 1:
        raise ValueError(
            f'the boxes are for a photo of height {height} and width {width}, but this one has height {size[0]} and '
            f'width {size[1]}'
        )
    return height, width


def _masks(annotations: list[dict], boxes: np.ndarray, frame: Size, size: Size) -> Tensor:
    """(R, H, W) bool at the photo's size."""
    masks = [_mask(item, box, frame) for item, box in zip(annotations, boxes, strict=True)]
    stack = torch.stack(masks) if masks else torch.zeros(0, *frame, dtype=torch.bool)
    if frame == size:
        return stack
    return F.interpolate(stack[None].to(torch.uint8), size, mode='nearest-exact')[0].bool()


def _mask(annotation: dict, box: np.ndarray, frame: Size) -> Tensor:
    """(H, W) bool in the annotation's own frame."""
    segmentation = annotation.get('segmentation')
    if not segmentation:
        return _box_mask(box, frame)
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise ImportError('segmentation masks need pycocotools: pip install pycocotools') from error
    try:
        if isinstance(segmentation, list):
            runs = coco.merge(coco.frPyObjects(segmentation, *frame))
        elif isinstance(segmentation['counts'], list):
            runs = coco.frPyObjects(segmentation, *frame)
        else:
            runs = segmentation
        mask = coco.decode(runs)
    except Exception as error:  # pycocotools raises bare `Exception` among others
        raise ValueError(f'`segmentation` is neither polygons nor RLE: {error}') from error
    if mask.shape != frame:
        raise ValueError(f'`segmentation` has size {mask.shape}, but the photo is annotated at {frame}')
    return torch.from_numpy(mask).bool()


def _box_mask(box: np.ndarray, frame: Size) -> Tensor:
    mask = torch.zeros(frame, dtype=torch.bool)
    if np.isfinite(box).all():
        x0, y0, x1, y1 = (max(0, round(float(value))) for value in box)
        mask[y0:y1, x0:x1] = True
    return mask
