"""Boxes from files: COCO annotations, COCO results, and the `.npz` files of the published code."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from insta_colorization.registry import MODELS
from insta_colorization.structures import Instances, Size

from .base import check_image, image_size

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Annotations:
    """What a file of boxes says about one photo, before anybody has opened the photo.

    Attributes:
        boxes: (R, 4) float32 xyxy in pixels of `frame`; they may stick out of it.
        scores: (R,) float32.
        frame: (height, width) that the boxes refer to; None if that is the photo's own size.
        segmentations: R times polygons, RLE or None as in COCO; None where nobody asked for masks.
        crowds: how many crowds were left out.

    Raises:
        ValueError: a box is not finite or is inverted, or a score is not finite.
    """

    boxes: np.ndarray
    scores: np.ndarray
    frame: Size | None = None
    segmentations: list | None = None
    crowds: int = 0

    def __post_init__(self) -> None:
        if not np.isfinite(self.scores).all():
            raise ValueError(f'scores must be finite, but got {self.scores.tolist()}')
        wrong = ~np.isfinite(self.boxes).all(axis=1) | (self.boxes[:, 2:] < self.boxes[:, :2]).any(axis=1)
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(f'box {first} is not finite or is inverted: {self.boxes[first].tolist()}')

    @classmethod
    def empty(cls) -> Self:
        """Those of a photo that the file does not know."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.boxes)

    def usable(self, score_thr: float = 0.0) -> int:
        """How many boxes of at least this score have an area inside the frame."""
        height, width = self.frame or (np.inf, np.inf)
        clipped = self.boxes.clip(0, [width, height] * 2)
        inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
        return int((inside & (self.scores >= score_thr)).sum())

    def on(self, size: Size, masks: bool = False) -> Instances:
        """The instances of the opened photo.

        Args:
            size: (height, width) of the photo.
            masks: whether to make masks of the segmentations; without one the mask is the box.

        Returns:
            `Instances` of a single image: scaled with the photo, clipped to it, without boxes that have nothing inside.

        Raises:
            ValueError: the photo has another shape than the frame, or a segmentation is neither polygons nor RLE.
        """
        frame = self._scaled_from(size)
        scale = np.array([size[1] / frame[1], size[0] / frame[0]] * 2, np.float32)
        drawn = _masks(self.segmentations or [None] * len(self), self.boxes, frame, size) if masks else None
        return Instances.clipped(self.boxes * scale, size, self.scores, drawn)

    def _scaled_from(self, size: Size) -> Size:
        """The size that the boxes refer to: the photo's, or that of the copy it was scaled from or to.

        Raises:
            ValueError: the file describes a photo of another shape, so its boxes would land anywhere (a cropped copy,
                or one turned by its EXIF tag).
        """
        if self.frame is None or self.frame == size:
            return size
        height, width = self.frame
        scale = max(size) / max(height, width)
        if abs(height * scale - size[0]) > 1 or abs(width * scale - size[1]) > 1:
            raise ValueError(
                f'the boxes are for a photo of height {height} and width {width}, but this one has height {size[0]} '
                f'and width {size[1]}'
            )
        return self.frame


class _Source(Protocol):
    """A kind of file; an entry is the part of it that belongs to one photo."""

    def entry_of(self, photo: Path) -> Any: ...

    def read(self, entry: Any) -> Annotations: ...

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
        self._masks = masks
        self._source = _open(self.path, None if image_file is None else Path(image_file), masks)
        self._owners: dict[Any, str] = {}

    @classmethod
    def of(cls, text: str | Path, **settings: Any) -> Self:
        """The detector that a line of text stands for: FILE, FOLDER or RESULTS.json:ANNOTATIONS.json.

        Args:
            text: what `--boxes` takes.
            settings: further arguments of the detector.

        Raises:
            FileNotFoundError: there is no such file or folder.
            ValueError: the file is not of one of these kinds.
        """
        return cls(**boxes_named(text), **settings)

    def check(self, paths: Sequence[str]) -> None:
        """Looks all photos of a run up before it begins, and warns if some have no boxes.

        Args:
            paths: the files of all photos.

        Raises:
            ValueError: see `matched`.
        """
        matched = self.matched(paths)
        if matched < len(paths):
            logger.warning('%s has boxes for %d of the %d photos', self.path, matched, len(paths))

    def matched(self, paths: Sequence[str]) -> int:
        """How many photos are in the file.

        Args:
            paths: the files of all photos.

        Raises:
            ValueError: none of the photos is there, or two of them would share one entry.
        """
        matched = sum(self._claim(path) is not None for path in paths)
        if paths and not matched:
            names = self._source.names()
            example = f', such as {names[0]}' if names else ''
            raise ValueError(
                f'{self.path} has {len(names)} file names{example}, and 0 of the {len(paths)} photos matched, '
                f'such as {paths[0]}'
            )
        return matched

    def annotations_of(self, path: str) -> Annotations:
        """What the file says about one photo, which is not opened; nothing if it is not there.

        Raises:
            ValueError: another photo has the same entry already, or the entry cannot be used.
        """
        entry = self._claim(path)
        if entry is None:
            return Annotations.empty()
        try:
            return self._source.read(entry)
        except ValueError as error:
            raise self._named(error, entry, path) from error

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

    def _named(self, error: ValueError, entry: Any, path: str) -> ValueError:
        file = entry if isinstance(entry, Path) else self.path
        return ValueError(f'{file}, photo {Path(path).name}: {error}')

    def _lookup(self, image: np.ndarray, path: str) -> Instances:
        check_image(image)
        annotations = self.annotations_of(path)
        try:
            instances = annotations.on(image_size(image), self._masks)
        except ValueError as error:
            raise self._named(error, self._claim(path), path) from error
        dropped = len(annotations) - len(instances)
        if dropped:
            logger.warning(
                '%s, photo %s: dropped %d of %d boxes that have no area inside the photo',
                self.path,
                Path(path).name,
                dropped,
                len(annotations),
            )
        return instances


def coco_photos(path: str | Path) -> tuple[list[str], bool]:
    """The file names in a COCO file, in its order, and whether the file has annotations as well.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a COCO file.
    """
    content = _load_json(Path(path))
    images = _section(content, 'images', Path(path))
    try:
        return [image['file_name'] for image in images], 'annotations' in content
    except (KeyError, TypeError) as error:
        raise ValueError(f'{path} is not in COCO format: an entry lacks {error}') from error


def coco_masks() -> Any:
    """The module of pycocotools that reads and writes segmentation masks.

    Raises:
        ImportError: it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ImportError('segmentation masks need pycocotools: pip install pycocotools') from error
    return mask


def boxes_named(text: str | Path) -> dict[str, Any]:
    """The arguments of `CachedDetector` that FILE, FOLDER or RESULTS.json:ANNOTATIONS.json stands for."""
    results, found, annotations = str(text).partition('.json:')
    if found and not Path(text).exists():
        return {'path': f'{results}.json', 'image_file': annotations}
    return {'path': str(text)}


def tails(photo: PurePath) -> Iterator[PurePath]:
    """The photo's path, then without its first folder and so on, down to its file name."""
    parts = photo.relative_to(photo.anchor).parts
    return (PurePath(*parts[start:]) for start in range(len(parts)))


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


class _NpzFile:
    """One photo's file, whatever the photo is called."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entry_of(self, photo: Path) -> Path:
        return self._path

    def read(self, entry: Path) -> Annotations:
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
        return Annotations(_as_float(boxes), _as_float(scores))

    def names(self) -> list[str]:
        return [self._path.name]


def _as_float(values: Any) -> np.ndarray:
    try:
        return np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f'boxes and scores must be numbers, but got {values}') from error


class _NpzFolder(_NpzFile):
    def entry_of(self, photo: Path) -> Path | None:  # type: ignore[override]
        for tail in tails(photo):
            for name in (f'{tail}.npz', tail.with_suffix('.npz')):
                if (self._path / name).is_file():
                    return self._path / name
        return None

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self._path)) for path in self._path.rglob('*.npz'))


class _CocoFile:
    def __init__(self, path: Path, image_file: Path | None, masks: bool) -> None:
        content = _load_json(path, segmentations=masks)
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
        by_path = next((ids for tail in tails(photo) if (ids := self._ids_by_name.get(str(tail)))), None)
        ids = by_path or self._ids_by_file_name.get(photo.name, [])
        if len(ids) > 1:
            names = [self._images[i]['file_name'] for i in ids[:3]]
            raise ValueError(f'{photo} matches {len(ids)} entries of the boxes file: {", ".join(names)}')
        return ids[0] if ids else None

    def names(self) -> list[str]:
        return list(self._ids_by_name)

    def read(self, entry: Any) -> Annotations:
        every = self._annotations.get(entry, [])
        annotations = [item for item in every if not item.get('iscrowd', 0)]
        boxes = _as_float([_bbox(item) for item in annotations]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return Annotations(
            boxes,
            _as_float([item.get('score', 1.0) for item in annotations]),
            _frame(self._images[entry]),
            [item.get('segmentation') for item in annotations] if self._masks else None,
            crowds=len(every) - len(annotations),
        )


def _load_json(path: Path, segmentations: bool = False) -> Any:
    # Most of a COCO file is segmentations: without them it takes half the time and a third of the memory.
    hook = None if segmentations else _without_segmentation
    try:
        return json.loads(path.read_bytes(), object_hook=hook)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'there is no annotation file {path}') from error
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error


def _without_segmentation(entry: dict) -> dict:
    entry.pop('segmentation', None)
    return entry


def _section(content: Any, name: str, path: Path) -> list:
    if not isinstance(content, dict) or not isinstance(content.get(name), list):
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{path} is not in COCO format: it must have a list `{name}`, but has {found}')
    return content[name]


def _bbox(annotation: dict) -> list:
    values = annotation.get('bbox')
    if not isinstance(values, list) or len(values) != 4:
        raise ValueError(f'`bbox` must be [x, y, width, height], but got {values}')
    return values


def _frame(image: dict) -> Size | None:
    height, width = image.get('height'), image.get('width')
    return (height, width) if height and width else None


def _masks(segmentations: list, boxes: np.ndarray, frame: Size, size: Size) -> Tensor:
    """(R, H, W) bool at the photo's size."""
    masks = [_mask(segmentation, box, frame) for segmentation, box in zip(segmentations, boxes, strict=True)]
    stack = torch.stack(masks) if masks else torch.zeros(0, *frame, dtype=torch.bool)
    if frame == size:
        return stack
    return F.interpolate(stack[None].to(torch.uint8), size, mode='nearest-exact')[0].bool()


def _mask(segmentation: Any, box: np.ndarray, frame: Size) -> Tensor:
    """(H, W) bool in the annotation's own frame."""
    if not segmentation:
        return _box_mask(box, frame)
    coco = coco_masks()
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
