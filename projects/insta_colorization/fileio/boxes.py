"""Files of boxes: COCO annotations, COCO results, and the `.npz` files of the published code."""

import io
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from insta_colorization.structures import COCO_CLASSES, Instances, Size
from insta_colorization.utils.options import InputOptions

from .files import open_regular

logger = logging.getLogger(__name__)

MAX_MASK_PIXELS = InputOptions.max_pixels
_MAX_ARRAY_BYTES = 2**30
_FARTHEST_CORNER = 1e6
# What a file calls the instances of a detector that does not know what they are.
UNKNOWN = 'object'


@dataclass(frozen=True, eq=False)
class Annotations:
    """What a file of boxes says about one photo, before anybody has opened the photo.

    Attributes:
        boxes: (R, 4) float32 xyxy in pixels of `frame`; they may stick out of it.
        scores: (R,) float32.
        frame: (height, width) that the boxes refer to; None if that is the photo's own size.
        segmentations: R times polygons, RLE or None as in COCO, or the `.npz` that has `masks`, its path or its bytes;
            None where nobody asked for masks.
        crowds: how many crowds were left out.
        labels: (R,) int64 indices into `classes`, -1 where the class is unknown; None if all are.
        classes: names; None for COCO's 80, which a hundred thousand photos need not repeat.

    Raises:
        ValueError: a box is not finite or is inverted, a score is not finite, or a label is none of the classes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    frame: Size | None = None
    segmentations: list | Path | bytes | None = None
    crowds: int = 0
    labels: np.ndarray | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.scores).all():
            raise ValueError(f'scores must be finite, but got {self.scores.tolist()}')
        wrong = ~np.isfinite(self.boxes).all(axis=1) | (self.boxes[:, 2:] < self.boxes[:, :2]).any(axis=1)
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(f'box {first} is not finite or is inverted: {self.boxes[first].tolist()}')
        last = len(self.classes or COCO_CLASSES) - 1
        beyond = [] if self.labels is None else self.labels[(self.labels < -1) | (self.labels > last)].tolist()
        if beyond:
            raise ValueError(f'labels must lie in -1..{last}, the list of classes, but got {beyond[0]}')

    @classmethod
    def empty(cls) -> Self:
        """Those of a photo that the file does not know."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.boxes)

    def usable(self, score_thr: float = 0.0) -> int:
        """How many boxes of at least this score have an area inside the frame."""
        return int((_inside(self.boxes, self.frame or (np.inf, np.inf)) & (self.scores >= score_thr)).sum())

    def on(self, size: Size, masks: bool = False) -> Instances:
        """The instances of the opened photo.

        Args:
            size: (height, width) of the photo.
            masks: whether to make masks of the segmentations; without one the mask is the box.

        Returns:
            `Instances` of a single image: scaled with the photo, clipped to it, without boxes that have nothing inside.

        Raises:
            ValueError: the photo has another shape than the frame or the masks, or a segmentation is neither polygons
                nor RLE.
        """
        frame = self._scaled_from(size)
        boxes = self.boxes * np.array([size[1] / frame[1], size[0] / frame[0]] * 2, np.float32)
        inside = _inside(boxes, size)
        labels = None if self.labels is None else self.labels[inside]
        classes = self.classes or COCO_CLASSES
        found = Instances.clipped(boxes[inside], size, self.scores[inside], labels=labels, classes=classes)
        return found.with_masks(self._masks(np.flatnonzero(inside).tolist(), frame, size)) if masks else found

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

    def _masks(self, numbers: list[int], frame: Size, size: Size) -> Iterator[Tensor]:
        """The masks (height, width) of some of the boxes, one frame at a time."""
        if isinstance(self.segmentations, Path | bytes):
            masks = _read_npz(self.segmentations, ('masks',))['masks']
            if masks.ndim != 3 or len(masks) != len(self):
                raise ValueError(f'`masks` must have shape ({len(self)}, height, width), but got {masks.shape}')
            yield from (torch.from_numpy(masks[number]) for number in numbers)
            return
        for number in numbers:
            segmentation = self.segmentations[number] if self.segmentations else None
            if not segmentation:
                yield torch.ones((), dtype=torch.bool).expand(size)
                continue
            mask = _decode(segmentation, frame)
            yield mask if frame == size else F.interpolate(mask[None, None], size, mode='nearest-exact')[0, 0]


def _inside(boxes: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """(R,) bool, which boxes have an area inside an image of (height, width)."""
    clipped = boxes.clip(0, [size[1], size[0]] * 2)
    return (clipped[:, 2:] > clipped[:, :2]).all(axis=1)


def _decode(segmentation: Any, frame: Size) -> Tensor:
    """(H, W) uint8 in the annotation's own frame, which pycocotools would not check before it writes there."""
    coco = coco_masks()
    if math.prod(frame) > MAX_MASK_PIXELS:
        raise ValueError(f'a mask of {frame[1]} x {frame[0]} pixels is larger than the {MAX_MASK_PIXELS} allowed')
    size = segmentation.get('size') if isinstance(segmentation, dict) else None
    if size is not None and tuple(size) != frame:
        raise ValueError(f'`segmentation` has size {tuple(size)}, but the photo is annotated at {frame}')
    try:
        _require_finite(segmentation, frame)
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
    return torch.from_numpy(mask)


def _require_finite(segmentation: Any, frame: Size) -> None:
    """Checks numbers that pycocotools would follow for ever, or out of the frame."""
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if not (np.abs(np.asarray(polygon, np.float64)) < _FARTHEST_CORNER).all():
                raise ValueError(f'a corner of {polygon} is no place in a photo')
    elif isinstance(segmentation['counts'], list):
        counts = segmentation['counts']
        if min(counts, default=0) < 0 or sum(counts) != math.prod(frame):
            raise ValueError(f'its runs add up to {sum(counts)}, not to the {math.prod(frame)} pixels of {frame}')


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


class BoxFile:
    """A file or folder of boxes; an entry is the part of it that belongs to one photo.

    Args:
        path: see `open_boxes`.
        masks: whether masks are wanted as well.
    """

    def __init__(self, path: Path, masks: bool = False) -> None:
        self.path = path
        self.masks = masks

    def entry_of(self, photo: Path) -> Any:
        """The entry of a photo, by its absolute path; None if there is none."""
        raise NotImplementedError

    def read(self, entry: Any) -> Annotations:
        """What an entry says."""
        raise NotImplementedError

    def names(self) -> list[str]:
        """The file names that it knows."""
        raise NotImplementedError

    def matched(self, paths: Sequence[str]) -> int:
        """How many of the photos of a run, given by their paths, are in the file.

        Raises:
            ValueError: none of the photos is there, or two of them would share one entry.
        """
        owners: dict[Any, Path] = {}
        matched = 0
        for photo in map(_absolute, paths):
            entry = self.entry_of(photo)
            if entry is None:
                continue
            matched += 1
            owner = owners.setdefault(entry, photo)
            if owner != photo:
                name = entry if isinstance(entry, Path) else f'one entry of {self.path}'
                raise ValueError(f'{owner} and {photo} would share the boxes of {name}; give each photo its own')
        if paths and not matched:
            names = self.names()
            example = f', such as {names[0]}' if names else ''
            raise ValueError(
                f'{self.path} has {len(names)} file names{example}, and 0 of the {len(paths)} photos matched, '
                f'such as {paths[0]}'
            )
        return matched

    def annotations_of(self, path: str) -> Annotations:
        """What the file says about one photo, which is not opened; nothing if it is not there.

        Raises:
            ValueError: the entry cannot be used, or the photo could be one of several.
        """
        with self._entry(path) as entry:
            return Annotations.empty() if entry is None else self.read(entry)

    def instances_of(self, path: str, size: Size) -> Instances:
        """The instances of one photo of (height, width); see `annotations_of` and `Annotations.on`."""
        annotations = self.annotations_of(path)
        with self._entry(path):
            instances = annotations.on(size, self.masks)
        dropped = len(annotations) - len(instances)
        if dropped:
            sentence = '%s, photo %s: dropped %d of %d boxes that have no area inside the photo'
            logger.warning(sentence, self.path, Path(path).name, dropped, len(annotations))
        return instances

    @contextmanager
    def _entry(self, path: str) -> Iterator[Any]:
        """A photo's entry; an error in using it names the file and the photo."""
        entry = None
        try:
            entry = self.entry_of(_absolute(path))
            yield entry
        except ValueError as error:
            file = entry if isinstance(entry, Path) else self.path
            raise ValueError(f'{file}, photo {Path(path).name}: {error}') from error


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))


def tails(photo: PurePath) -> Iterator[PurePath]:
    """The photo's path, then without its first folder and so on, down to its file name."""
    parts = photo.relative_to(photo.anchor).parts
    return (PurePath(*parts[start:]) for start in range(len(parts)))


def open_boxes(text: str | Path, image_file: str | Path | None = None, masks: bool = False) -> BoxFile:
    """Opens a file or folder of boxes.

    Photos are found in a COCO file by their path as far as it is written there, then by their file name. A photo that
    is not there has no instances. Crowds are left out. Boxes of a JSON whose `width` and `height` are a multiple of the
    photo's are scaled with it.

    Args:
        text: a COCO annotation file (`.json` with `images` and `annotations`), a COCO result file (`.json` with a list)
            as RESULTS.json:ANNOTATIONS.json, an `.npz` for a single photo with `bbox` (R, 4) xyxy and, where they are
            known, `scores` (R,), `labels` (R,) as names or indices into COCO's 80 classes and `masks` (R, H, W), or a
            folder of those, named after the photo's full file name (`photo.jpg.npz`) or its stem (`photo.npz`).
        image_file: the annotation file, apart from its results.
        masks: whether to read masks or `segmentation` (polygons or RLE) as well; without one the mask is the box.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is not of one of these kinds.
    """
    path = Path(text)
    results, found, annotations = str(text).partition('.json:')
    if found and not path.exists():
        path, image_file = Path(f'{results}.json'), annotations
    if path.is_dir():
        return NpzFolder(path, masks)
    if not path.is_file():
        raise FileNotFoundError(f'there is no file or folder of boxes {path}')
    if path.suffix == '.npz':
        return NpzFile(path, masks)
    if path.suffix == '.json':
        return CocoFile(path, None if image_file is None else Path(image_file), masks)
    raise ValueError(f'boxes are read from .json, from .npz or from a folder of .npz, but got {path}')


class NpzFile(BoxFile):
    """One photo's file, whatever the photo is called."""

    def entry_of(self, photo: Path) -> Path | None:  # noqa: D102
        return self.path

    def read(self, entry: Path) -> Annotations:  # noqa: D102
        return read_npz(entry, self.masks)

    def names(self) -> list[str]:  # noqa: D102
        return [self.path.name]


class NpzFolder(NpzFile):
    """A file for each photo."""

    def entry_of(self, photo: Path) -> Path | None:  # noqa: D102
        for tail in tails(photo):
            for name in (f'{tail}.npz', tail.with_suffix('.npz')):
                if (self.path / name).is_file():
                    return self.path / name
        return None

    def names(self) -> list[str]:  # noqa: D102
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob('*.npz'))


def read_npz(file: Path | bytes, masks: bool = False) -> Annotations:
    """What an `.npz` says about its photo, see `open_boxes`.

    Args:
        file: its path, or its content.
        masks: whether its masks are wanted as well.

    Raises:
        ValueError: it cannot be read, or is no file of boxes.
    """
    contents = _read_npz(file, ('bbox', 'scores', 'labels'))
    if 'bbox' not in contents:
        raise ValueError(f'the .npz must hold `bbox`, but holds {sorted(contents)}')
    boxes = contents['bbox']
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise ValueError(f'`bbox` must have shape (R, 4), but got {boxes.shape}')
    boxes = boxes.reshape(-1, 4)
    scores, labels = contents.get('scores', np.ones(len(boxes))), contents.get('labels')
    for name, values in {'scores': scores, 'labels': labels}.items():
        if values is not None and values.shape != (len(boxes),):
            raise ValueError(f'`{name}` must have shape ({len(boxes)},) as `bbox` has, but got {values.shape}')
    segmentations = file if masks and 'masks' in contents else None
    classes = None
    if labels is not None and labels.dtype.kind == 'U':
        labels, classes = _indices(labels.tolist(), labels.tolist())
    elif labels is not None and labels.size and labels.dtype.kind not in 'iu':
        raise ValueError(f'`labels` must be integers or names, but got {labels.dtype}')
    return Annotations(_as_float(boxes), _as_float(scores), None, segmentations, 0, labels, classes)


def npz_of(instances: Instances, masks: bool = False) -> bytes:
    """The content of the `.npz` of a photo's instances, which `read_npz` gives back as they are.

    Args:
        instances: of a single image.
        masks: whether their masks are written, if they have any.

    Raises:
        ValueError: the masks would be more than is read.
    """
    arrays = {'bbox': instances.boxes.cpu().numpy(), 'scores': instances.scores.cpu().numpy()}
    if instances.labels is not None:
        labels, names = instances.labels.cpu().numpy(), (*instances.classes, UNKNOWN)
        is_coco = instances.classes == COCO_CLASSES
        arrays['labels'] = labels if is_coco else np.array([names[label] for label in labels], np.str_)
    if masks and instances.masks is not None and len(instances):
        height, width = instances.image_size[0].tolist()
        if (size := len(instances) * height * width) > _MAX_ARRAY_BYTES:
            raise ValueError(
                f'{len(instances)} masks of {width} x {height} pixels take {size} bytes, more than the '
                f'{_MAX_ARRAY_BYTES} that are read'
            )
        arrays['masks'] = np.stack([instances.whole_mask(number).cpu().numpy() for number in range(len(instances))])
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _read_npz(file: Path | bytes, wanted: Sequence[str]) -> dict[str, Any]:
    """{name: array} of those that are wanted, and None for the others."""
    try:
        with np.load(io.BytesIO(file) if isinstance(file, bytes) else file, allow_pickle=False) as arrays:
            for name in set(wanted).intersection(arrays.files):
                if (size := arrays.zip.getinfo(f'{name}.npy').file_size) > _MAX_ARRAY_BYTES:
                    raise ValueError(f'`{name}` takes {size} bytes, more than the {_MAX_ARRAY_BYTES} allowed')
            return {name: arrays[name] if name in wanted else None for name in arrays.files}
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on damaged files
        raise ValueError(f'the .npz cannot be read: {error}') from error


def _as_float(values: Any) -> np.ndarray:
    try:
        return np.asarray(values, np.float32)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f'boxes and scores must be numbers, but got {values}') from error


def _indices(names: Iterable[str | None], known: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Names, None where they are unknown, as indices into the known ones, or into COCO's if it has all known ones."""
    classes = tuple(dict.fromkeys(known))
    coco = set(classes) <= set(COCO_CLASSES)
    number: dict[str | None, int] = {name: n for n, name in enumerate(COCO_CLASSES if coco else classes)}
    return np.array([number.get(name, -1) for name in names], np.int64), None if coco else classes


class CocoFile(BoxFile):
    """The annotations, or the results and the names, of many photos."""

    def __init__(self, path: Path, image_file: Path | None, masks: bool) -> None:
        super().__init__(path, masks)
        content = _load_json(path, segmentations=masks)
        self._is_results = isinstance(content, list)
        if self._is_results and image_file is None:
            raise ValueError(
                f'{path} is a list of results, which has image ids only: give the annotation file with their names '
                f'as well ({path.name}:ANNOTATIONS.json)'
            )
        annotations = content if self._is_results else _section(content, 'annotations', path)
        names = read_coco(Path(str(image_file))) if self._is_results else _checked(content, path)
        self._categories = {item['id']: str(item['name']) for item in names['categories']}
        self._images: dict[Any, dict] = {image['id']: image for image in names['images']}
        self._ids_by_name: dict[str, list] = {}
        self._ids_by_file_name: dict[str, list] = {}
        for number, image in self._images.items():
            name = Path(image['file_name'])
            self._ids_by_name.setdefault(str(name), []).append(number)
            self._ids_by_file_name.setdefault(name.name, []).append(number)
        self._annotations: dict[Any, list[dict]] = {}
        try:
            for annotation in annotations:
                hash(annotation.get('category_id'))
                self._annotations.setdefault(annotation['image_id'], []).append(annotation)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is not in COCO format: an entry lacks {error}') from error

    def entry_of(self, photo: Path) -> Any:  # noqa: D102
        by_path = next((ids for tail in tails(photo) if (ids := self._ids_by_name.get(str(tail)))), None)
        ids = by_path or self._ids_by_file_name.get(photo.name, [])
        if len(ids) > 1:
            names = [self._images[i]['file_name'] for i in ids[:3]]
            raise ValueError(f'{photo} matches {len(ids)} entries of the boxes file: {", ".join(names)}')
        return ids[0] if ids else None

    def names(self) -> list[str]:  # noqa: D102
        return list(self._ids_by_name)

    def read(self, entry: Any) -> Annotations:  # noqa: D102
        every = self._annotations.get(entry, [])
        annotations = [item for item in every if not item.get('iscrowd', 0)]
        boxes = _as_float([_bbox(item) for item in annotations]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return Annotations(
            boxes,
            _as_float([item.get('score', 1.0) for item in annotations]),
            _frame(self._images[entry]),
            [item.get('segmentation') for item in annotations] if self.masks else None,
            len(every) - len(annotations),
            *self._labels([item.get('category_id') for item in annotations]),
        )

    def _labels(self, ids: list) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
        """Labels and classes; a file without categories says nothing about them."""
        if not self._categories:
            return None, None
        beyond = [number for number in ids if number is not None and number not in self._categories]
        # Results may be of another detector, whose categories the annotations do not have.
        if beyond and not self._is_results:
            raise ValueError(f'category {beyond[0]} is not one of the {len(self._categories)} of the file')
        return _indices(map(self._categories.get, ids), self._categories.values())


def read_coco(path: Path, folder: Path | None = None) -> dict[str, Any]:
    """The content of a COCO file without segmentations: `images` with `file_name` and `id`, and `categories`.

    Args:
        path: the file.
        folder: of its photos, where these are to be read as well; a file from elsewhere may name any other place.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a COCO file, or a name leads out of the folder.
    """
    content = _checked(_load_json(path), path)
    if folder is not None:
        names = [image['file_name'] for image in content['images']]
        outside = [name for name in names if not _absolute(folder / name).is_relative_to(_absolute(folder))]
        if outside:
            raise ValueError(f'{path} names {outside[0]}, which is not in the folder of the photos, {folder}')
    return content


def _checked(content: Any, path: Path) -> dict[str, Any]:
    try:
        for image in _section(content, 'images', path):
            os.fspath(image['file_name']), hash(image['id'])
        for category in content.setdefault('categories', []):
            category['name'], hash(category['id'])
    except KeyError as error:
        raise ValueError(f'{path} is not in COCO format: an entry lacks {error}') from error
    except TypeError as error:
        raise ValueError(f'{path} is not in COCO format: {error}') from error
    return content


def _load_json(path: Path, segmentations: bool = False) -> Any:
    # Most of a COCO file is segmentations: without them it takes half the time and a third of the memory.
    hook = None if segmentations else _without_segmentation
    try:
        with open_regular(path) as file:
            return json.load(file, object_hook=hook)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'there is no annotation file {path}') from error
    except (RecursionError, ValueError) as error:
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
    if not height or not width:
        return None
    if not all(isinstance(side, int) and 0 < side < 2**31 for side in (height, width)):
        raise ValueError(f'`width` and `height` must be positive integers, but got {width!r} and {height!r}')
    return height, width
