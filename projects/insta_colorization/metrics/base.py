"""What all photo metrics share: the truth and the prediction as 8-bit RGB, the average over photos."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from torch import Tensor

from insta_colorization.rendering import clipped_rgb


class PhotoMetric(BaseMetric):
    """A metric that measures each photo by itself; a subclass says how and what to make of all photos' values."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:  # noqa: D102
        for sample in data_samples:
            truth = sample['gt_rgb'].cpu()
            self.results.append(self.measure(truth, clipped_rgb(truth, sample['pred_ab'].cpu())))

    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, float]:
        """Values of one photo from truth and prediction, (3, H, W) uint8 RGB."""
        raise NotImplementedError

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Mean and median over photos; near-grey photos dominate a mean, so both are given."""
        names = results[0]
        columns = {name: np.array([result[name] for result in results]) for name in names}
        means = {name: float(column.mean()) for name, column in columns.items()}
        return means | {f'{name}_median': float(np.median(column)) for name, column in columns.items()}
