"""Typed data that travels between detectors, datasets, networks and the inferencer.

Shape legend: N images, R instances over all of them. Boxes are (x0, y0, x1, y1) in pixels of their own image, x right,
y down, end exclusive. Sizes are (height, width).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Instances:
    """Objects found in N images.

    Construction checks everything and raises `ValueError` with the offending values. Boxes that come from outside and
    may stick out of their photo go through `Instances.clipped`.

    Attributes:
        boxes: (R, 4) float32.
        image_size: (N, 2) int64, the size of each image; one `(height, width)` is taken as N = 1.
        scores: (R,) float32; ones when not given.
        image_index: (R,) int64 in 0..N-1; zeros when not given.
        masks: (R, H, W) bool in the frame of each instance's own image, zero beyond it, or None.
    """

    boxes: Tensor
    image_size: Tensor
    scores: Tensor = None  # type: ignore[assignment]
    image_index: Tensor = None  # type: ignore[assignment]
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        boxes = torch.as_tensor(self.boxes, dtype=torch.float32)
        device, count = boxes.device, len(boxes)
        defaults = {
            'boxes': boxes,
            'image_size': torch.as_tensor(self.image_size, dtype=torch.int64, device=device).reshape(-1, 2),
            'scores': torch.ones(count, device=device)
            if self.scores is None
            else torch.as_tensor(self.scores, dtype=torch.float32, device=device),
            'image_index': torch.zeros(count, dtype=torch.int64, device=device)
            if self.image_index is None
            else torch.as_tensor(self.image_index, dtype=torch.int64, device=device),
            'masks': None if self.masks is None else torch.as_tensor(self.masks, device=device).bool(),
        }
        for name, value in defaults.items():
            object.__setattr__(self, name, value)
        self._validate()

    def _validate(self) -> None:
        boxes, count = self.boxes, len(self.boxes)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f'boxes must have shape (R, 4), but got {tuple(boxes.shape)}')
        for name in ('scores', 'image_index', 'masks'):
            value = getattr(self, name)
            if value is not None and len(value) != count:
                raise ValueError(f'{name} must have one entry per box, but got {len(value)} for {count} boxes')
        for name in ('scores', 'image_index'):
            if getattr(self, name).ndim != 1:
                raise ValueError(f'{name} must have shape (R,), but got {tuple(getattr(self, name).shape)}')
        if not self.scores.isfinite().all():
            raise ValueError(f'scores must be finite, but got {self.scores[~self.scores.isfinite()][0].item()}')
        if self.masks is not None and self.masks.ndim != 3:
            raise ValueError(f'masks must have shape (R, H, W), but got {tuple(self.masks.shape)}')
        if not count:
            return
        if self.image_index.min() < 0 or self.image_index.max() >= self.num_images:
            raise ValueError(
                f'image_index must lie in 0..{self.num_images - 1}, '
                f'but got {int(self.image_index.min())}..{int(self.image_index.max())}'
            )
        height, width = self.image_size[self.image_index].unbind(dim=1)
        x0, y0, x1, y1 = boxes.unbind(dim=1)
        checks = {
            'is not finite': ~boxes.isfinite().all(dim=1),
            'is inverted or has no area': (x1 <= x0) | (y1 <= y0),
            'leaves its image': (x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height),
        }
        for fault, wrong in checks.items():
            if wrong.any():
                first = int(wrong.nonzero()[0])
                raise ValueError(
                    f'box {first} {fault}: {[round(v, 2) for v in boxes[first].tolist()]} in an image of '
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
        masks: Tensor | None = None,
    ) -> 'Instances':
        """Takes boxes of one image from outside: clips them to it and drops those with nothing inside.

        Args:
            boxes: (R, 4).
            image_size: (height, width).
            scores: (R,) or None.
            masks: (R, H, W) or None.

        Raises:
            ValueError: a box is not finite or is inverted, or the lengths differ. A detector that reports such a box
                is broken, and dropping it would hide that.
        """
        boxes = torch.as_tensor(boxes, dtype=torch.float32)
        if boxes.numel() and (boxes.ndim != 2 or boxes.shape[1] != 4):
            raise ValueError(f'boxes must have shape (R, 4), but got {tuple(boxes.shape)}')
        boxes = boxes.reshape(-1, 4)
        scores = torch.ones(len(boxes)) if scores is None else torch.as_tensor(scores, dtype=torch.float32)
        scores = scores.to(boxes.device)
        if len(scores) != len(boxes):
            raise ValueError(f'scores must have one entry per box, but got {len(scores)} for {len(boxes)} boxes')
        if masks is not None and len(masks) != len(boxes):
            raise ValueError(f'masks must have one entry per box, but got {len(masks)} for {len(boxes)} boxes')
        x0, y0, x1, y1 = boxes.unbind(dim=1)
        wrong = ~boxes.isfinite().all(dim=1) | (x1 < x0) | (y1 < y0)
        if wrong.any():
            first = int(wrong.nonzero()[0])
            raise ValueError(f'box {first} is not finite or is inverted: {boxes[first].tolist()}')
        height, width = image_size
        inside = torch.stack([x0.clamp(0, width), y0.clamp(0, height), x1.clamp(0, width), y1.clamp(0, height)], dim=1)
        keep = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
        return cls(inside[keep], image_size, scores[keep], masks=None if masks is None else masks[keep])  # type: ignore[arg-type]

    @classmethod
    def cat(cls, parts: Sequence['Instances']) -> 'Instances':
        """Joins the instances of several groups of images; images keep their order, masks are padded to the largest.

        Masks stay if every part that has instances has them.
        """
        if not parts:
            raise ValueError('cat needs at least one Instances')
        first_image = np.cumsum([0, *(part.num_images for part in parts[:-1])])
        masks = None
        given = [part.masks for part in parts if part.masks is not None]
        if given and all(part.masks is not None or not len(part) for part in parts):
            height, width = max(m.shape[1] for m in given), max(m.shape[2] for m in given)
            masks = torch.cat([F.pad(m, (0, width - m.shape[2], 0, height - m.shape[1])) for m in given])
        return cls(
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.image_size for part in parts]),
            torch.cat([part.scores for part in parts]),
            torch.cat([part.image_index + int(first) for part, first in zip(parts, first_image, strict=True)]),
            masks,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Tensor | slice | Iterable[int]) -> 'Instances':
        """A part of the instances, by slice, mask or indices; the images stay."""
        if not isinstance(index, (slice, Tensor)):
            chosen = np.asarray(list(index))
            if chosen.dtype != bool:
                chosen = chosen.astype(np.int64)
            index = torch.as_tensor(chosen, device=self.boxes.device)
        return Instances(
            self.boxes[index],
            self.image_size,
            self.scores[index],
            self.image_index[index],
            None if self.masks is None else self.masks[index],
        )

    @property
    def num_images(self) -> int:
        """N: how many images the instances lie in, those without an instance included."""
        return len(self.image_size)

    @property
    def areas(self) -> Tensor:
        """(R,) box areas in square pixels."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).prod(dim=1)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> 'Instances':
        """The same instances on another device; `non_blocking` as in `torch.Tensor.to`."""

        def moved(value: Tensor) -> Tensor:
            return value.to(device, non_blocking=non_blocking)

        masks = None if self.masks is None else moved(self.masks)
        image_index, image_size = moved(self.image_index), moved(self.image_size)
        return Instances(moved(self.boxes), image_size, moved(self.scores), image_index, masks)

    def by_image(self) -> list['Instances']:
        """One `Instances` of a single image for each of the N images, empty ones included."""
        parts = []
        for n in range(self.num_images):
            mine = self.image_index == n
            masks = None if self.masks is None else self.masks[mine]
            parts.append(Instances(self.boxes[mine], self.image_size[n], self.scores[mine], masks=masks))
        return parts

    def of_images(self, keep: Tensor) -> 'Instances':
        """The instances of some of the images, renumbered.

        Args:
            keep: (N,) bool, which images stay.
        """
        mine = keep[self.image_index]
        number = keep.cumsum(0) - 1
        masks = None if self.masks is None else self.masks[mine]
        image_index = number[self.image_index[mine]]
        return Instances(self.boxes[mine], self.image_size[keep], self.scores[mine], image_index, masks)

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


def _at_least_one_cell(boxes: Tensor, size: Tensor) -> Tensor:
    """Widens boxes (R, 4) under one cell as the original does: at the end if `size - end > 1`, else at the start."""
    start, end, extent = boxes[:, :2], boxes[:, 2:], size.flip(1)
    thin = end - start < 1
    # On a grid of a single cell the original would move the start to -1.
    grows = (extent - end > 1) | (start == 0)
    return torch.cat([start - (thin & ~grows).long(), end + (thin & grows).long()], dim=1)
