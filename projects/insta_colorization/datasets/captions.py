"""Captions beside training photos, the same with other colours, and lightness that does not tell the colour."""

from typing import Literal, get_args

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform

from insta_colorization.colorspace import lightness_to_gray, rgb_to_lab, to_network
from insta_colorization.fileio.captions import CaptionFile, PairFile
from insta_colorization.imaging.resize import to_tensor
from insta_colorization.models.language.colors import color_of
from insta_colorization.models.language.pairs import color_pairs, other_colors, with_colors
from insta_colorization.registry import TRANSFORMS
from insta_colorization.utils.ranges import share

Which = Literal['random', 'first']


@TRANSFORMS.register_module()
class LoadCaption(BaseTransform):
    """Takes one of a photo's captions: `results['caption']`, for `PackColorization(meta=['caption'])`.

    Args:
        file: see `CaptionFile`.
        which: a `random` caption, or the `first`.
        required: whether a photo without a caption gives None; otherwise its caption is empty.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be used, or `which` is neither.
    """

    def __init__(self, file: str, which: Which = 'random', required: bool = True) -> None:
        if which not in get_args(Which):
            raise ValueError(f'which must be one of {", ".join(get_args(Which))}, but got {which!r}')
        self.captions = CaptionFile(file)
        self.which = which
        self.required = required

    def transform(self, results: dict) -> dict | None:  # noqa: D102
        own = self.captions.of(results['img_path'])
        if not own and self.required and 'skipped' not in results:
            results['skipped'] = f'{results["img_path"]} has no caption in {self.captions.path}'
            return None
        number = np.random.randint(len(own)) if self.which == 'random' and own else 0
        results['caption'] = own[number] if own else ''
        return results


@TRANSFORMS.register_module()
class LoadCaptions(BaseTransform):
    """All captions of a photo, `results['captions']`, of which the metric of captions measures how they are followed.

    Args:
        file: see `CaptionFile`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be used.
    """

    def __init__(self, file: str) -> None:
        self.file = CaptionFile(file)

    def describe(self) -> dict[str, str]:
        """What a protocol says about the captions."""
        return {'captions': str(self.file.path)}

    def transform(self, results: dict) -> dict:  # noqa: D102
        results['captions'] = self.file.of(results['img_path'])
        return results


@TRANSFORMS.register_module()
class SwapColors(BaseTransform):
    """The caption with each of its colours replaced by another basic one at random, for `CounterColorLoss`.

    `results['counter_caption']`, and `results['named_colors']` (K, 2), a and b of CIELAB of the colours that it had. A
    caption without colours is left alone.

    Args:
        captions: the file of the captions, where `pairs` is given.
        pairs: file of the nouns and colours in them, see `PairFile`; None has the grammar find them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not fit the captions, or only one of them is given.
    """

    def __init__(self, captions: str | None = None, pairs: str | None = None) -> None:
        if (captions is None) != (pairs is None):
            raise ValueError(f'captions and pairs are given together, but got {captions} and {pairs}')
        self.pairs = PairFile(pairs, CaptionFile(captions)) if pairs and captions else None

    def transform(self, results: dict) -> dict:  # noqa: D102
        caption = results['caption']
        pairs = color_pairs(caption) if self.pairs is None else self.pairs.of(results['img_path'], caption)
        meant = {name: ab for _, name in pairs if (ab := color_of(name)) is not None}
        if meant:
            others = {name: np.random.choice(list(other_colors(ab))) for name, ab in meant.items()}
            results['counter_caption'] = with_colors(caption, others)
            results['named_colors'] = list(meant.values())
        return results


@TRANSFORMS.register_module()
class LuminanceJitter(BaseTransform):
    """What the networks see of a colour photo is, for some photos, the lightness of one in other colours.

    Otherwise lightness tells much of the colour, and words are not needed. The picture becomes `results['gray']` (H, W)
    uint8, for `PackColorization(inputs=['gray'])`; the true colours stay. Comes after `ResizePhoto`. The paper's use of
    it is not known; this one is ours.

    Args:
        prob: the share of the photos.
        contrast, saturation: the greatest change of each, as a share.
        hue: the greatest turn of the hue, as a share of the circle.
        gamma: for the same photos (L / 100) to the power of g or 1 / g, with g between 1 and this; 1 for none.

    Raises:
        ValueError: the share lies outside [0, 1], or the gamma is below 1.
    """

    def __init__(
        self, prob: float = 0.5, contrast: float = 0.1, saturation: float = 0.1, hue: float = 0.5, gamma: float = 1.0
    ) -> None:
        if gamma < 1:
            raise ValueError(f'gamma must be at least 1, but got {gamma}')
        self.prob = share('prob', prob)
        self.contrast, self.saturation, self.hue, self.gamma = contrast, saturation, hue, gamma

    def transform(self, results: dict) -> dict:  # noqa: D102
        image, power = results['img'], 1.0
        if np.random.rand() < self.prob:
            image = self._jittered(image)
            power = np.random.uniform(1, self.gamma) ** np.random.choice([-1, 1])
        lightness, _ = to_network(rgb_to_lab(to_tensor(image).float() / 255))
        gray = lightness_to_gray(((lightness + 0.5).clamp(0, 1) ** power) - 0.5)[0]
        results['gray'] = (gray * 255).round().to(torch.uint8).numpy()
        return results

    def _jittered(self, image: np.ndarray) -> np.ndarray:
        contrast, saturation = (1 + np.random.uniform(-most, most) for most in (self.contrast, self.saturation))
        turn = np.random.uniform(-self.hue, self.hue)
        pixels = image.astype(np.float32) / 255
        mean = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).mean()
        hsv = cv2.cvtColor((mean + contrast * (pixels - mean)).clip(0, 1), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
        hsv[..., 1] = (hsv[..., 1] * saturation).clip(0, 1)
        return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).round().astype(np.uint8)
