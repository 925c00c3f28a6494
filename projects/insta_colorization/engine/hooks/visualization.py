"""Shows validation photos to the visualizer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from insta_colorization.imaging.rendering import clipped_rgb
from insta_colorization.registry import HOOKS
from insta_colorization.structures import ColorizationSample, Instances
from insta_colorization.visualization.sheets import sheet

# Smaller pictures are shown enlarged, by whole numbers: under them a title would not fit.
LEAST_SIDE = 128


@HOOKS.register_module()
class ColorizationVisualizationHook(Hook):
    """Shows validation photos to the visualizer as `val_0`, `val_1`, ...: grey | prediction | truth | boxes.

    Args:
        num_photos: how many, always the first ones.
    """

    def __init__(self, num_photos: int = 4) -> None:
        self.num_photos = num_photos
        self._shown = 0

    def before_val_epoch(self, runner: Runner) -> None:  # noqa: D102
        self._shown = 0

    def after_val_iter(  # noqa: D102
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        usable = [sample for sample in outputs or () if not sample.get('skipped')]
        for sample in usable[: self.num_photos - self._shown]:
            runner.visualizer.add_image(f'val_{self._shown}', result_sheet(sample), runner.iter)
            self._shown += 1


def result_sheet(sample: ColorizationSample) -> np.ndarray:
    """Grey | prediction | truth | boxes of one predicted sample, (H, W, 3) uint8 RGB.

    The boxes are those the networks used, or the true ones where they used none.
    """
    truth = sample.gt_rgb.cpu()
    grey, colour = (clipped_rgb(truth, ab) for ab in (torch.zeros(2, 1, 1), sample.pred_ab.cpu()))
    times = max(1, LEAST_SIDE // max(truth.shape))
    enlarged = [picture.repeat_interleave(times, 1).repeat_interleave(times, 2) for picture in (grey, colour, truth)]
    pictures = [picture.movedim(0, -1).numpy() for picture in enlarged]
    instances = sample.get('instances', sample.get('gt_instances'))
    if instances is None:
        instances = Instances.empty(truth.shape[-2:])
    return sheet(pictures[0], pictures[1], instances, truth=pictures[2])
