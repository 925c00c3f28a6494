"""What all photo metrics share: the pairs they measure, the photos they leave out, the average over what is left.

Every metric sees the same pairs of truth and prediction, both 8-bit RGB (3, H, W), at each of the levels of
`levels.py`: the whole photo, what the true boxes cut out of both, and whatever a method adds.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from insta_colorization.imaging.rendering import clipped_rgb

from .levels import LEVELS

COLOURS = (
    "lightness of the true photo and predicted ab, brought to the photo's size bilinearly (torch), CIELAB (D65) to "
    'sRGB, clipped, rounded to 8 bit'
)


class NotComputableError(RuntimeError):
    """A metric cannot be computed here; the message says why and what to do about it."""


@dataclass(frozen=True)
class PhotoResult:
    """What one metric found in one photo.

    Attributes:
        photo: its file.
        skipped: why the photo was not measured, or None.
        size: (height, width) of the truth in pixels.
        values: {level: {name: value} of each pair}.
        counts: {level: what it counted in the photo}.
        used: how many instances the networks were given.
        missing: why the metric cannot be computed, or None.
    """

    photo: str
    skipped: str | None = None
    size: tuple[int, int] = (0, 0)
    values: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    used: int = 0
    missing: str | None = None


class PhotoMetric(BaseMetric):
    """A metric of pairs of pictures; a subclass says how to measure one pair and what to make of all pairs' values.

    There is exactly one result per photo, skipped ones included, because MMEngine tells the photos that pad the shares
    of several processes by their number.

    Args:
        levels: names of the levels to measure; by default all of `LEVELS` whose parts the metric measures.
        kwargs: see `mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: a level is unknown.

    Attributes:
        name: what tables call the metric.
        protocol: how it measures, in one line.
        parts: what it measures, see `Level`.
        per_photo: whether a pair's values say something by themselves.
        photos: the results of the last evaluation, in the order of the dataset; only in the main process.
        not_computed: {metric or level/metric: reason} of the last evaluation.
    """

    # Levels come first in the names of values, so there is no prefix; '' keeps MMEngine from warning of that.
    default_prefix = ''
    name = ''
    protocol = ''
    parts = 'pictures'
    per_photo = True

    def __init__(self, levels: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        known = {name: level for name, level in LEVELS.items() if level.parts == self.parts}
        names = tuple(known if levels is None else levels)
        if not names or not known.keys() >= set(names):
            raise ValueError(f'levels must be some of {", ".join(known)}, but got {", ".join(names) or "none"}')
        self.levels = tuple(known[name] for name in names)
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
        self.device = sample['pred_ab'].device
        found = {level.name: level.pairs(sample, (truth, prediction)) for level in self.levels}
        result = PhotoResult(
            photo,
            size=(truth.shape[1], truth.shape[2]),
            counts={name: counts for name, (_, counts) in found.items()},
            used=0 if sample.get('instances') is None else len(sample['instances']),
        )
        try:
            values = {name: [self.measure(*pair) for pair in pairs] for name, (pairs, _) in found.items()}
        except NotComputableError as error:
            return replace(result, missing=str(error))
        return replace(result, values=values)

    def measure(self, *pair: Any) -> dict[str, Any]:
        """Values of one pair: of truth and prediction, (3, H, W) uint8 RGB on the CPU, where `parts` are pictures.

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
        measured = self.measured
        missing = next((result.missing for result in measured if result.missing), None)
        if missing is not None:
            self._give_up(self.name, missing)
            return {}
        summary: dict[str, float] = {}
        for level in self.levels:
            values = [pair for result in measured for pair in result.values[level.name]]
            try:
                found = self.summarize(values) if values else {}
            except NotComputableError as error:
                self._give_up(f'{level.name}/{self.name}', str(error))
                continue
            summary |= {f'{level.name}/{name}': value for name, value in found.items()}
        return summary

    @property
    def measured(self) -> list[PhotoResult]:
        """The results of the photos that were measured."""
        return [result for result in self.photos if result.skipped is None]

    def describe(self) -> dict[str, Any]:
        """What the protocol says about the last evaluation; only in the main process."""
        sizes = sorted({result.size for result in self.measured})
        described: dict[str, Any] = {
            'num_photos': len(self.measured),
            'num_skipped': len(self.photos) - len(self.measured),
            'size': list(sizes[0]) if len(sizes) == 1 else [list(size) for size in sizes],
            'colours': COLOURS,
        }
        for level in self.levels:
            counts: Counter[str] = Counter()
            for result in self.measured:
                counts.update(result.counts[level.name])
            described |= level.describe(counts)
        return {**described, 'metrics': {self.name: self.protocol}}

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
