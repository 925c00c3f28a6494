"""Objects found in photos.

Shape legend: N images, R instances over all of them. Boxes are (x0, y0, x1, y1) in pixels of their own image, x right,
y down, end exclusive. Sizes are (height, width).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .coco import COCO_CLASSES
from .sample import PhotoField, Size


@dataclass(frozen=True, eq=False)
class Instances(PhotoField):
    """Objects found in N images.

    Construction checks everything and raises `ValueError` with the offending values. Boxes that come from outside and
    may stick out of their photo go through `Instances.clipped`, masks of whole photos through `with_masks`.

    Attributes:
        boxes: (R, 4) float32.
        image_size: (N, 2) int64, the size of each image; one `(height, width)` is taken as N = 1.
        scores: (R,) float32; ones when not given.
        image_index: (R,) int64 in 0..N-1; zeros when not given.
        masks: R bool masks (h, w), each cut to its box's whole pixels (`in_pixels`), or None.
        labels: (R,) int64, indices into `classes`, -1 where the class is unknown; None if all are.
        classes: names; COCO's 80 when not given.
    """

    boxes: Tensor
    image_size: Tensor
    scores: Tensor = None  # type: ignore[assignment]
    image_index: Tensor = None  # type: ignore[assignment]
    masks: tuple[Tensor, ...] | None = None
    labels: Tensor | None = None
    classes: tuple[str, ...] = COCO_CLASSES

    def __post_init__(self) -> None:
        boxes = torch.as_tensor(self.boxes, dtype=torch.float32)

        def tensor(value: Any, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.as_tensor(value, dtype=dtype, device=boxes.device)

        count = len(boxes)
        values = {
            'boxes': boxes,
            'image_size': tensor(self.image_size).reshape(-1, 2),
            'scores': tensor(torch.ones(count) if self.scores is None else self.scores, torch.float32),
            'image_index': tensor(torch.zeros(count) if self.image_index is None else self.image_index),
            'masks': None if self.masks is None else tuple(tensor(mask, torch.bool) for mask in self.masks),
            'labels': None if self.labels is None else tensor(self.labels),
            'classes': tuple(self.classes),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._validate()

    def _validate(self) -> None:
        values = {name: getattr(self, name) for name in ('scores', 'image_index', 'masks', 'labels')}
        _require_matching(self.boxes, values)
        for name, value in values.items():
            if isinstance(value, Tensor) and value.ndim != 1:
                raise ValueError(f'{name} must have shape (R,), but got {tuple(value.shape)}')
        if not self.scores.isfinite().all():
            raise ValueError(f'scores must be finite, but got {self.scores[~self.scores.isfinite()][0].item()}')
        if not len(self):
            return
        _require_range('image_index', self.image_index, 0, self.num_images)
        if self.labels is not None:
            _require_range('labels', self.labels, -1, len(self.classes))
        self._validate_boxes()
        pixels = self.in_pixels().tolist() if self.masks else []
        for number, (mask, (x0, y0, x1, y1)) in enumerate(zip(self.masks or (), pixels, strict=True)):
            if mask.shape != (y1 - y0, x1 - x0):
                raise ValueError(
                    f'mask {number} must have the height and width of its box, {(y1 - y0, x1 - x0)}, '
                    f'but got {tuple(mask.shape)}'
                )

    def _validate_boxes(self) -> None:
        height, width = self.image_size[self.image_index].unbind(dim=1)
        x0, y0, x1, y1 = self.boxes.unbind(dim=1)
        checks = {
            'is not finite': ~self.boxes.isfinite().all(dim=1),
            'is inverted or has no area': (x1 <= x0) | (y1 <= y0),
            'leaves its image': (x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height),
        }
        for fault, wrong in checks.items():
            if wrong.any():
                first = int(wrong.nonzero()[0])
                raise ValueError(
                    f'box {first} {fault}: {[round(v, 2) for v in self.boxes[first].tolist()]} in an image of '
                    f'height {int(height[first])} and width {int(width[first])}'
                )

    @classmethod
    def empty(cls, image_size: Size | Tensor) -> 'Instances':
        """No instances, in one image of `image_size` or in as many as it has rows."""
        return cls(torch.zeros(0, 4), image_size)  # type: ignore[arg-type]

    @classmethod
    def clipped(
        cls,
        boxes: Tensor | np.ndarray | Sequence[Sequence[float]],
        image_size: Size,
        scores: Tensor | np.ndarray | Sequence[float] | None = None,
        masks: Tensor | np.ndarray | Sequence[Tensor] | None = None,
        labels: Tensor | np.ndarray | Sequence[int] | None = None,
        classes: Sequence[str] = COCO_CLASSES,
    ) -> 'Instances':
        """Takes boxes of one image from outside: clips them to it and drops those with nothing inside.

        The arguments are those of `Instances`, except that masks are (R, height, width), of the whole image.

        Raises:
            ValueError: a box is not finite or is inverted, the lengths differ, a label is not one of the classes or a
                mask has another size than the image. A detector that reports such a box is broken, and dropping it
                would hide that.
        """
        boxes = torch.as_tensor(boxes, dtype=torch.float32)
        boxes = boxes if boxes.numel() else boxes.reshape(0, 4)
        _require_matching(boxes, {'scores': scores, 'masks': masks, 'labels': labels})
        wrong = ~boxes.isfinite().all(dim=1) | (boxes[:, 2:] < boxes[:, :2]).any(dim=1)
        if wrong.any():
            first = int(wrong.nonzero()[0])
            raise ValueError(f'box {first} is not finite or is inverted: {boxes[first].tolist()}')
        inside, keep = _clip(boxes, image_size)
        found = cls(
            inside[keep],
            image_size,  # type: ignore[arg-type]
            None if scores is None else torch.as_tensor(scores, device=boxes.device)[keep],  # type: ignore[arg-type]
            labels=None if labels is None else torch.as_tensor(labels, device=boxes.device)[keep],
            classes=tuple(classes),
        )
        return found if masks is None else found.with_masks(masks[n] for n in keep.nonzero()[:, 0].tolist())

    @classmethod
    def cat(cls, parts: Sequence['Instances']) -> 'Instances':
        """Joins the instances of several groups of images; images keep their order.

        Masks stay if every part that has instances has them; labels, if any part has them. Other lists of classes than
        the first one are joined to it.
        """
        if not parts:
            raise ValueError('cat needs at least one Instances')
        first_image = np.cumsum([0, *(part.num_images for part in parts[:-1])])
        given = [part for part in parts if len(part)]
        masks = [part.masks for part in given if part.masks is not None]
        classes = tuple(dict.fromkeys(name for part in given for name in part.classes)) or parts[0].classes
        labelled = any(part.labels is not None for part in given)
        return cls(
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.image_size for part in parts]),
            torch.cat([part.scores for part in parts]),
            torch.cat([part.image_index + int(first) for part, first in zip(parts, first_image, strict=True)]),
            tuple(mask for group in masks for mask in group) if masks and len(masks) == len(given) else None,
            torch.cat([part._labels_among(classes) for part in given]) if labelled else None,
            classes,
        )

    def _labels_among(self, classes: tuple[str, ...]) -> Tensor:
        """(R,) labels as indices into other classes, which hold all of these."""
        if self.labels is None:
            return torch.full_like(self.image_index, -1)
        # The last one is what -1 looks up.
        return self.labels.new_tensor([*map(classes.index, self.classes), -1])[self.labels]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Tensor | slice | Iterable[int]) -> 'Instances':
        """A part of the instances, by slice, mask or indices; the images stay."""
        if not isinstance(index, (slice, Tensor)):
            chosen = np.asarray(list(index))
            if chosen.dtype != bool:
                chosen = chosen.astype(np.int64)
            index = torch.as_tensor(chosen, device=self.boxes.device)
        numbers = torch.arange(len(self), device=self.boxes.device)
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            image_index=self.image_index[index],
            masks=None if self.masks is None else tuple(self.masks[n] for n in numbers[index].tolist()),
            labels=None if self.labels is None else self.labels[index],
        )

    @property
    def num_images(self) -> int:
        """N: how many images the instances lie in, those without an instance included."""
        return len(self.image_size)

    @property
    def areas(self) -> Tensor:
        """(R,) box areas in square pixels."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).prod(dim=1)

    def worst_to_best(self) -> Tensor:
        """(R,) int64 indices of the instances by score, then area; of equals the first one counts as better."""
        order = torch.arange(len(self), device=self.boxes.device).flip(0)
        order = order[self.areas[order].argsort(stable=True)]
        return order[self.scores[order].argsort(stable=True)]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> 'Instances':
        """The same instances on another device; `non_blocking` as in `torch.Tensor.to`."""

        def moved(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(moved, value))
            return value if value is None else value.to(device, non_blocking=non_blocking)

        names = ('boxes', 'image_size', 'scores', 'image_index', 'masks', 'labels')
        return replace(self, **{name: moved(getattr(self, name)) for name in names})

    def of_images(self, keep: Tensor) -> 'Instances':
        """The instances of some of the images, renumbered; `keep` (N,) bool says which images stay."""
        part = self[keep[self.image_index]]
        return replace(part, image_size=self.image_size[keep], image_index=(keep.cumsum(0) - 1)[part.image_index])

    def with_masks(self, masks: Iterable[Tensor | np.ndarray]) -> 'Instances':
        """These instances of one image with masks, each cut to its box.

        Args:
            masks: R masks of the whole image, (height, width) each, as one array or one after the other; not zero is in
                the mask.

        Raises:
            ValueError: a mask has another size than the image, or there are not as many as boxes.
        """
        height, width = self.image_size[0].tolist()
        cut = []
        for mask, box in zip_longest(map(torch.as_tensor, masks), self.in_pixels().tolist()):
            if mask is None:
                break
            if mask.shape != (height, width):
                raise ValueError(
                    f'masks must have the size of their photo, height {height} and width {width}, '
                    f'but got {tuple(mask.shape)}'
                )
            cut.append(mask if box is None else _recut(mask, (0, 0, width, height), box))
        return replace(self, masks=tuple(cut))

    def crop(self, rows: slice, columns: slice) -> 'Instances':
        """The parts of the instances of one image that lie in a window of it."""
        corner = torch.tensor([columns.start, rows.start] * 2, device=self.boxes.device)
        size = rows.stop - rows.start, columns.stop - columns.start
        inside, keep = _clip(self.boxes - corner, size)
        kept = self[keep]
        cropped = replace(kept, boxes=inside[keep], image_size=size, masks=None)  # type: ignore[arg-type]
        return cropped._with_recut(kept.masks, kept.in_pixels() - corner)

    def flip(self) -> 'Instances':
        """The instances of one image in its mirror image."""

        def mirrored(boxes: Tensor) -> Tensor:
            boxes = boxes.clone()
            boxes[:, [2, 0]] = self.image_size[0, 1] - boxes[:, [0, 2]]
            return boxes

        masks = None if self.masks is None else [mask.flip(1) for mask in self.masks]
        return replace(self, boxes=mirrored(self.boxes), masks=None)._with_recut(masks, mirrored(self.in_pixels()))

    def _with_recut(self, masks: Sequence[Tensor] | None, boxes: Tensor) -> 'Instances':
        """These instances with masks that were cut to `boxes` (R, 4), which may be a pixel off after mirroring."""
        if masks is None:
            return self
        recut = zip(masks, boxes.tolist(), self.in_pixels().tolist(), strict=True)
        return replace(self, masks=tuple(_recut(*item) for item in recut))

    def in_pixels(self) -> Tensor:
        """(R, 4) int64 boxes of whole pixels: floored as in the published code, at least one pixel wide and high."""
        return _at_least_one_cell(self.boxes.floor().long(), self.image_size[self.image_index])

    def on_grid(self, size: Size) -> Tensor:
        """Boxes on a feature grid that covers the whole image.

        Each grid is reached from the pixel box (never from the next finer grid) as `int(x / width * size)`, in that
        order of operations and in double precision, as `get_box_info` of the published code does.

        Args:
            size: (height, width) of the grid.

        Returns:
            (R, 4) int64 x0, y0, x1, y1 in cells, at least one cell wide and high.
        """
        image_size = self.image_size[self.image_index].double()
        extent = image_size.flip(1).repeat(1, 2)
        grid = torch.tensor([size[1], size[0]] * 2, dtype=torch.float64, device=self.boxes.device)
        cells = (self.in_pixels().double() / extent * grid).floor().long()
        return _at_least_one_cell(cells, torch.tensor([size], device=self.boxes.device).expand(len(self), 2))

    def whole_mask(self, number: int) -> Tensor:
        """(height, width) bool, the mask of one instance in the frame of its image."""
        assert self.masks is not None
        height, width = self.image_size[self.image_index[number]].tolist()
        return _recut(self.masks[number], self.in_pixels()[number].tolist(), (0, 0, width, height))


def _require_matching(boxes: Tensor, values: Mapping[str, Any]) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f'boxes must have shape (R, 4), but got {tuple(boxes.shape)}')
    for name, value in values.items():
        if value is not None and len(value) != len(boxes):
            raise ValueError(f'{name} must have one entry per box, but got {len(value)} for {len(boxes)} boxes')


def _require_range(name: str, values: Tensor, first: int, end: int) -> None:
    low, high = int(values.min()), int(values.max())
    if low < first or high >= end:
        raise ValueError(f'{name} must lie in {first}..{end - 1}, but got {low}..{high}')


def _clip(boxes: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Boxes (R, 4) cut to an image of `size`, and which of them (R,) have an area inside."""
    edge = torch.tensor([size[1], size[0]] * 2, dtype=boxes.dtype, device=boxes.device)
    inside = boxes.clamp(min=0).minimum(edge)
    return inside, (inside[:, 2:] > inside[:, :2]).all(dim=1)


def _recut(mask: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """A copy of a mask that was cut to one box of whole pixels, cut to another; empty where it did not reach."""
    cut = torch.zeros(new[3] - new[1], new[2] - new[0], dtype=torch.bool, device=mask.device)
    x0, y0 = max(old[0], new[0]), max(old[1], new[1])
    x1, y1 = max(x0, min(old[2], new[2])), max(y0, min(old[3], new[3]))
    part = mask[y0 - old[1] : y1 - old[1], x0 - old[0] : x1 - old[0]]
    cut[y0 - new[1] : y1 - new[1], x0 - new[0] : x1 - new[0]] = part
    return cut


def _at_least_one_cell(boxes: Tensor, size: Tensor) -> Tensor:
    """Widens boxes (R, 4) under one cell as the original does: at the end if `size - end > 1`, else at the start."""
    start, end, extent = boxes[:, :2], boxes[:, 2:], size.flip(1)
    thin = end - start < 1
    # On a grid of a single cell the original would move the start to -1.
    grows = (extent - end > 1) | (start == 0)
    return torch.cat([start - (thin & ~grows).long(), end + (thin & grows).long()], dim=1)
