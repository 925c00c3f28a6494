"""What all photo metrics share: the pairs they measure, the photos they leave out, the average over what is left.

Every metric sees the same pairs of truth and prediction, both 8-bit RGB (3, H, W): the whole photo (level `image`) and
what the true boxes cut out of both (level `instance`), as in the paper's Tables 1 and 2.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from insta_colorization.imaging.rendering import clipped_rgb

LEVELS = ('image', 'instance')
# Shorter crops vanish in LPIPS' network, which halves them four times.
MIN_SIDE = 16


class NotComputableError(RuntimeError):
    """A metric cannot be computed here; the message says why and what to do about it."""


@dataclass(frozen=True)
class PhotoResult:
    """What one metric found in one photo.

    Attributes:
        photo: its file.
        skipped: why the photo was not measured, or None.
        size: (height, width) of the truth in pixels.
        image: {name: value} of the whole photo.
        instances: {name: value} of each true instance that is large enough.
        large: how many true instances there are to measure.
        small: how many are left out for a side under `MIN_SIDE` pixels.
        crowds: how many boxes of crowds the file of true boxes has for this photo.
        used: how many instances the networks were given.
        missing: why the metric cannot be computed, or None.
    """

    photo: str
    skipped: str | None = None
    size: tuple[int, int] = (0, 0)
    image: dict[str, Any] = field(default_factory=dict)
    instances: list[dict[str, Any]] = field(default_factory=list)
    large: int = 0
    small: int = 0
    crowds: int = 0
    used: int = 0
    missing: str | None = None


class PhotoMetric(BaseMetric):
    """A metric of pairs of pictures; a subclass says how to measure one pair and what to make of all pairs' values.

    There is exactly one result per photo, skipped ones included, because MMEngine tells the photos that pad the shares
    of several processes by their number.

    Args:
        levels: which of `LEVELS` to measure.
        kwargs: see `mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: a level is unknown.

    Attributes:
        name: what tables call the metric.
        protocol: how it measures, in one line.
        per_photo: whether a pair's values say something by themselves.
        photos: the results of the last evaluation, in the order of the dataset; only in the main process.
        not_computed: {metric or level/metric: reason} of the last evaluation.
    """

    # Levels come first in the names of values, so there is no prefix; '' keeps MMEngine from warning of that.
    default_prefix = ''
    name = ''
    protocol = ''
    per_photo = True

    def __init__(self, levels: Sequence[str] = LEVELS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        unknown = set(levels) - set(LEVELS)
        if unknown or not levels:
            raise ValueError(f'levels must be some of {", ".join(LEVELS)}, but got {", ".join(levels) or "none"}')
        self.levels = tuple(levels)
        self.device = torch.device('cpu')
        self.photos: list[PhotoResult] = []
        self.not_computed: dict[str, str] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:  # noqa: D102
        self.results.extend(self._result(sample) for sample in data_samples)

    def _result(self, sample: dict) -> PhotoResult:
        photo = str(sample.get('img_path', ''))
        if sample.get('skipped'):
            return PhotoResult(photo, skipped=str(sample['skipped']))
        truth, prediction = sample['gt_rgb'].cpu(), predicted_rgb(sample)
        boxes, small = true_boxes(sample)
        self.device = sample['pred_ab'].device
        result = PhotoResult(
            photo,
            size=(truth.shape[1], truth.shape[2]),
            large=len(boxes),
            small=small,
            crowds=int(sample.get('crowds') or 0),
            used=0 if sample.get('instances') is None else len(sample['instances']),
        )
        try:
            image = self.measure(truth, prediction) if 'image' in self.levels else {}
            instances = [
                self.measure(truth[:, y0:y1, x0:x1], prediction[:, y0:y1, x0:x1])
                for x0, y0, x1, y1 in (boxes if 'instance' in self.levels else [])
            ]
        except NotComputableError as error:
            return replace(result, missing=str(error))
        return replace(result, image=image, instances=instances)

    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, Any]:
        """Values of one pair, (3, H, W) uint8 RGB on the CPU.

        Raises:
            NotComputableError: something that the metric needs is not there.
        """
        raise NotImplementedError

    def summarize(self, values: Sequence[dict[str, Any]]) -> dict[str, float]:
        """From the values of all pairs of a level to those that stand in a table: the mean, and the median beside it.

        Near-grey photos dominate a mean.

        Raises:
            NotComputableError: there are too few pairs.
        """
        columns = {name: np.array([value[name] for value in values]) for name in values[0]}
        means = {name: float(column.mean()) for name, column in columns.items()}
        return means | {f'{name}_median': float(np.median(column)) for name, column in columns.items()}

    def compute_metrics(self, results: list[PhotoResult]) -> dict[str, float]:
        """`level/name` of everything that could be measured; what could not is in `not_computed`."""
        self.photos, self.not_computed = results, {}
        measured = [result for result in results if result.skipped is None]
        missing = next((result.missing for result in measured if result.missing), None)
        if missing is not None:
            self._give_up(self.name, missing)
            return {}
        pairs = {
            'image': [result.image for result in measured if 'image' in self.levels],
            'instance': [values for result in measured for values in result.instances],
        }
        summary: dict[str, float] = {}
        for level, values in pairs.items():
            try:
                found = self.summarize(values) if values else {}
            except NotComputableError as error:
                self._give_up(f'{level}/{self.name}', str(error))
                continue
            summary |= {f'{level}/{name}': value for name, value in found.items()}
        return summary

    def _give_up(self, name: str, reason: str) -> None:
        self.not_computed[name] = reason
        print_log(f'{name} is not computed: {reason}', logger='current', level=logging.WARNING)


def predicted_rgb(sample: dict) -> Tensor:
    """The prediction as 8-bit RGB (3, H, W) on the CPU; it is kept in the sample, so that metrics share it.

    Raises:
        ValueError: the prediction is not finite, so that its colours would be arbitrary.
    """
    if 'pred_rgb' not in sample:
        ab = sample['pred_ab'].cpu()
        if not ab.isfinite().all():
            raise ValueError(f'the prediction for {sample.get("img_path", "a photo")} is not finite')
        sample['pred_rgb'] = clipped_rgb(sample['gt_rgb'].cpu(), ab)
    return sample['pred_rgb']


def true_boxes(sample: dict) -> tuple[list[list[int]], int]:
    """The true boxes on the truth's pixels, x0, y0, x1, y1, and how many are left out for a side under `MIN_SIDE`."""
    instances = sample.get('gt_instances')
    if instances is None:
        return [], 0
    boxes = instances.on_grid(tuple(sample['gt_rgb'].shape[-2:]))
    large = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(dim=1)
    return boxes[large].tolist(), int((~large).sum())
