"""What a network in training gets beside the true photo: a grey picture that looks old, and hints of true colours."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from insta_colorization.registry import TRANSFORMS
from insta_colorization.utils.ranges import share

_LUMA = np.array([0.2125, 0.7154, 0.0721], np.float32)


@TRANSFORMS.register_module()
class AgePhoto(BaseTransform):
    """Makes the grey picture that the networks get of a colour photo look like an old print; the colours stay.

    It becomes `results['gray']` (H, W) uint8, for `PackColorization(inputs=['gray'])`. Comes after what crops and flips
    the photo, and before `CropInstances`, whose crops then look as old (`inputs=['gray', 'crop_gray']`).

    Args:
        prob: the share of the photos that are aged; the grey of the others is the luma of the published training.

    Raises:
        ValueError: the share lies outside [0, 1].
    """

    def __init__(self, prob: float = 0.4) -> None:
        self.prob = share('prob', prob)

    def transform(self, results: dict) -> dict:  # noqa: D102
        image = results['img'].astype(np.float32) / 255
        aged = np.random.rand() < self.prob
        weights = _LUMA
        if aged and np.random.rand() < 0.4:  # old emulsions hardly saw red, and plates were exposed through filters
            weights = _LUMA + np.random.rand() * (np.random.dirichlet((0.7, 1.5, 1.0)) - _LUMA)
        gray = image @ weights.astype(np.float32)
        if aged:
            gray = _scratched(_grainy(_printed(gray)))
        results['gray'] = (gray.clip(0, 1) * 255).round().astype(np.uint8)
        return results


def _printed(gray: np.ndarray) -> np.ndarray:
    """(H, W) in 0..1 with another gamma, faded or printed hard, and not quite sharp."""
    gray = gray.clip(1e-4, 1) ** np.exp(np.random.uniform(-0.4, 0.4))
    kind = np.random.rand()
    if kind < 0.5:
        black, white = np.random.uniform(0, 0.25), np.random.uniform(0.7, 1)
        gray = black + gray * (white - black)
    elif kind < 0.75:
        gray = (gray - 0.5) * np.random.uniform(1, 1.6) + 0.5
    if np.random.rand() < 0.3:
        gray = cv2.GaussianBlur(gray, (0, 0), np.random.uniform(0.3, 1.2))
    return gray


def _grainy(gray: np.ndarray) -> np.ndarray:
    if np.random.rand() < 0.3:
        grain = np.random.randn(*gray.shape)
        if np.random.rand() < 0.5:
            grain = 2 * cv2.GaussianBlur(grain, (0, 0), 0.7)
        gray = gray + np.random.uniform(0.01, 0.07) * grain
    return gray


def _scratched(gray: np.ndarray) -> np.ndarray:
    """With up to three scratches from top to bottom on every tenth photo."""
    height, width = gray.shape
    scratched = np.ascontiguousarray(gray, np.float32)
    for _ in range(np.random.randint(1, 4) if np.random.rand() < 0.1 else 0):
        top = np.random.randint(width)
        bottom = int(np.clip(top + np.random.normal(0, 4), 0, width - 1))
        cv2.line(scratched, (top, 0), (bottom, height - 1), (float(np.random.rand()),), 1)
    return scratched


@TRANSFORMS.register_module()
class SampleHints(BaseTransform):
    """Chooses regions of which the networks are told the mean true colour; the data preprocessor looks it up.

    They become `results['hint_regions']` (K, 5), x0, y0, x1, y1 in pixels and the mask's value, for
    `PackColorization(inputs=['hint_regions'])`. Comes after `ResizePhoto`.

    Points are small squares with mask 1 (as Zhang et al. 2017 have them); object hints are the boxes of `instances`
    with mask 0.5, because the mean colour of a box says less about each of its pixels.

    Args:
        prob: the share of the photos with hints.
        max_side: the greatest side of a point, in pixels.

    Raises:
        ValueError: the share lies outside [0, 1].
    """

    def __init__(self, prob: float = 0.5, max_side: int = 7) -> None:
        self.prob = share('prob', prob)
        self.max_side = max_side

    def transform(self, results: dict) -> dict:  # noqa: D102
        regions: list[list[float]] = []
        height, width = results['img'].shape[:2]
        if np.random.rand() < self.prob:
            kind = np.random.rand()
            if kind < 0.6 and 'instances' in results:
                boxes = results['instances'].on_grid((height, width)).tolist()
                regions += [[*box, 0.5] for box in boxes if np.random.rand() < 0.5]
            if kind > 0.4 or not regions:
                for _ in range(np.random.geometric(0.2)):
                    side = np.random.randint(1, self.max_side + 1)
                    x, y = np.random.randint(width - side + 1), np.random.randint(height - side + 1)
                    regions.append([x, y, x + side, y + side, 1.0])
        results['hint_regions'] = np.array(regions, np.float32).reshape(-1, 5)
        return results
