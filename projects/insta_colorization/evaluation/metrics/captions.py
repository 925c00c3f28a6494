"""Whether pictures follow captions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from insta_colorization.evaluation.captions import PROTOCOL, Case, cases, following, outside
from insta_colorization.registry import METRICS
from insta_colorization.structures import Instances

from .base import NotComputableError, PhotoMetric
from .levels import Level, Pair, register_level

# Pixels (H, W, 3) uint8 RGB, the objects that may be used, and a caption or None, to a picture of the same form.
Painter = Callable[[np.ndarray, Instances, str | None], np.ndarray]


@register_level
class CaptionLevel(Level):
    """The colours that a photo's `captions` give to objects with true boxes (`LoadCaptions`, `LoadInstances`).

    Its pairs are the truth (3, H, W) uint8 RGB, a `Case`, the true instances and those that the model may use.
    """

    name = 'caption'
    parts = 'captions'

    def pairs(self, sample: Mapping[str, Any], photo: Pair) -> tuple[Sequence[Pair], dict[str, int]]:  # noqa: D102
        captions, true = sample.get('captions') or (), sample.get('gt_instances')
        if true is None:
            return [], {'captions': len(captions), 'colours': 0}
        truth = photo[0]
        used = true if sample.get('instances') is None else sample['instances']
        found = list(cases(captions, truth.movedim(0, -1).numpy(), true))
        return [(truth, case, true, used) for case in found], {'captions': len(captions), 'colours': len(found)}

    def describe(self, counts: Mapping[str, int]) -> dict[str, Any]:  # noqa: D102
        return {'num_captions': counts['captions'], 'num_colours': counts['colours']}


@METRICS.register_module()
class CaptionFollowing(PhotoMetric):
    """How far the named colours come, and what else moves; `evaluation.captions` has the figures.

    Attributes:
        painter: makes the pictures; `tools/test.py` sets it. A model that reads no captions gets them as hints.
    """

    name = 'captions'
    protocol = PROTOCOL
    parts = 'captions'

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.painter: Painter | None = None
        self._photo: Tensor | None = None
        self._pictures: dict[str | None, np.ndarray] = {}

    def measure(self, truth: Tensor, case: Case, true: Instances, used: Instances) -> dict[str, Any]:  # type: ignore[override]
        """The figures of one colour; the truth is (3, H, W) uint8 RGB."""
        if self.painter is None:
            raise NotComputableError('a baseline follows no captions')
        if self._photo is not truth:  # several colours of a photo share pictures
            self._photo, self._pictures = truth, {}
        pixels = np.ascontiguousarray(truth.movedim(0, -1).numpy())
        wanted = (None, case.caption, case.swapped)
        for caption in wanted:
            if caption not in self._pictures:
                self._pictures[caption] = self.painter(pixels, used, caption)
        plain, told, swapped = (self._pictures[caption] for caption in wanted)
        free = outside((pixels.shape[0], pixels.shape[1]), true, used)
        return following(case, pixels, plain, told, swapped, free)

    def summarize(self, values: Sequence[dict[str, Any]]) -> dict[str, float]:  # noqa: D102
        names = dict.fromkeys(name for value in values for name in value)
        found: dict[str, float] = {}
        for name in names:
            found |= super().summarize([{name: value[name]} for value in values if name in value])
        return found
