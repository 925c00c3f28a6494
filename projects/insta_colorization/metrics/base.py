"""What all photo metrics share: the truth and the prediction as 8-bit RGB, the average over photos."""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from torch import Tensor

from insta_colorization.colorspace import from_network, lab_to_rgb, rgb_to_lab, to_network


def predicted_rgb(truth: Tensor, ab: Tensor) -> Tensor:
    """Joins the truth's own lightness with predicted colour, clipped and rounded.

    Args:
        truth: (3, H, W) uint8 RGB.
        ab: (2, h, w) in network units; brought to H x W bilinearly.

    Returns:
        (3, H, W) uint8 RGB.
    """
    lightness, _ = to_network(rgb_to_lab(truth.float() / 255))
    ab = F.interpolate(ab[None].float(), size=truth.shape[-2:], mode='bilinear', align_corners=False)[0]
    return (lab_to_rgb(from_network(lightness, ab)).clamp(0, 1) * 255).round().byte()


class PhotoMetric(BaseMetric):
    """A metric that measures each photo by itself; a subclass says how and what to make of all photos' values."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:  # noqa: D102
        for sample in data_samples:
            truth = sample['gt_rgb'].cpu()
            self.results.append(self.measure(truth, predicted_rgb(truth, sample['pred_ab'].cpu())))

    def measure(self, truth: Tensor, prediction: Tensor) -> dict[str, float]:
        """Values of one photo from truth and prediction, (3, H, W) uint8 RGB."""
        raise NotImplementedError

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Mean and median over photos; near-grey photos dominate a mean, so both are given."""
        names = results[0]
        columns = {name: np.array([result[name] for result in results]) for name in names}
        means = {name: float(column.mean()) for name, column in columns.items()}
        return means | {f'{name}_median': float(np.median(column)) for name, column in columns.items()}
