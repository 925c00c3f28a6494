"""How well the classes of pixels are seen, and how far their colours are from the true ones."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from insta_colorization.colorspace import rgb_to_lab
from insta_colorization.registry import METRICS
from insta_colorization.structures import NUM_CLASSES, SEMANTIC_CLASSES, UNKNOWN

from .base import PhotoMetric


@METRICS.register_module()
class SemanticIoU(PhotoMetric):
    """Intersection over union of the classes that occur in the true maps, and the share of pixels that are right."""

    name = 'mIoU'
    protocol = 'over the pixels of all photos whose class is known, mean over the classes that occur in the true maps'
    parts = 'maps'
    per_photo = False

    def measure(self, truth: np.ndarray, prediction: np.ndarray) -> dict[str, Any]:  # type: ignore[override]
        """How often each true class was given each class, (60, 60), of two maps (H, W)."""
        known = truth != UNKNOWN
        cells = truth[known].astype(int) * NUM_CLASSES + prediction[known]
        return {'counts': np.bincount(cells, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES)}

    def summarize(self, values: Sequence[dict[str, Any]]) -> dict[str, float]:  # noqa: D102
        counts = sum(value['counts'] for value in values)
        right, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
        occurring = true > 0
        if not occurring.any():
            return {}
        iou = right[occurring] / (true + predicted - right)[occurring]
        names = np.array(SEMANTIC_CLASSES)[occurring].tolist()
        return {
            'mIoU': float(iou.mean()),
            'accuracy': float(right.sum() / true.sum()),
            'num_classes': float(len(names)),
            **{f'IoU_{name}': float(value) for name, value in zip(names, iou, strict=True)},
        }


@METRICS.register_module()
class ClassColourError(PhotoMetric):
    """How far a and b are from the true ones, in each class."""

    name = 'ab_error'
    protocol = (
        'mean distance of a and b of CIELAB over the pixels of a class in all photos; ab_error is over all pixels of '
        'known class, ab_error_class_mean over classes'
    )
    parts = 'classes'

    def measure(self, truth: Tensor, prediction: Tensor, label: str) -> dict[str, Any]:  # type: ignore[override]
        """The mean distance over the pixels of a class, of truth and prediction (3, 1, P) uint8 RGB."""
        true, predicted = (rgb_to_lab(pixels.float() / 255)[1:] for pixels in (truth, prediction))
        error = (true - predicted).norm(dim=0)
        return {'class': label, 'pixels': error.numel(), 'ab_error': float(error.double().mean())}

    def summarize(self, values: Sequence[dict[str, Any]]) -> dict[str, float]:  # noqa: D102
        totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
        for value in values:
            totals[value['class']] += (value['ab_error'] * value['pixels'], value['pixels'])
        errors = {name: totals[name][0] / totals[name][1] for name in SEMANTIC_CLASSES if name in totals}
        total = np.sum(list(totals.values()), axis=0)
        return {
            'ab_error': float(total[0] / total[1]),
            'ab_error_class_mean': float(np.mean(list(errors.values()))),
            **{f'ab_error_{name}': float(error) for name, error in errors.items()},
        }
