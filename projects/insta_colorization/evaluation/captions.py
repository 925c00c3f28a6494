"""How well pictures follow captions, whatever makes them: the colours of a caption that count, and what is measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from insta_colorization.colorspace import rgb_to_lab
from insta_colorization.fileio.hints import within_srgb
from insta_colorization.models.language.colors import AB
from insta_colorization.models.language.pairs import other_colors, with_colors
from insta_colorization.models.language.steering import steer
from insta_colorization.structures import Hint, Instances, Size

LEAST_AREA = 100
PROTOCOL = (
    'of each caption the colours that it gives to an object with a true box, in its true mask or the part of it that a '
    'garment takes: before, after: Lab units from its mean colour to the named one without and with the caption; '
    'swapped: share of the colours that, replaced by another one, move the mean nearer to that one; outside: Lab units '
    'by which the caption moves the mean of what lies outside all boxes; plain, told: PSNR in dB without and with it; '
    'spread: how much the colours in the object vary with the swapped caption, as a share of what they vary without one'
)


@dataclass(frozen=True, eq=False)
class Case:
    """A colour of a caption that counts.

    Attributes:
        caption: the whole text.
        swapped: the text with another colour.
        inside: (H, W) bool, what the colour is said of.
        named: the colour, a and b of CIELAB.
        wished: the other one.
    """

    caption: str
    swapped: str
    inside: np.ndarray
    named: AB
    wished: AB


def cases(captions: Sequence[str], pixels: np.ndarray, true: Instances) -> Iterator[Case]:
    """What counts of the captions of a photo.

    Args:
        captions: N texts.
        pixels: the photo, (H, W, 3) uint8 RGB.
        true: its objects, with labels and masks.
    """
    size = pixels.shape[0], pixels.shape[1]
    for turn, caption in enumerate(captions):
        steering = steer(caption, pixels, true)
        used = [entry for entry in steering.record['used'] if entry['objects']]
        hints_of_objects = iter([hint for hint in steering.hints if hint.strict == 1])
        for entry in used:
            hints = [next(hints_of_objects) for _ in entry['ab']]
            inside = np.any([_area(hint, size) for hint in hints], axis=0)
            if inside.sum() < LEAST_AREA:
                continue
            a, b = np.mean([hint.ab for hint in hints], axis=0).tolist()
            others = other_colors((a, b))
            other = list(others)[turn % len(others)]
            (wished,) = within_srgb([Hint(others[other], hints[0].box, hints[0].mask)], pixels)
            swapped = with_colors(caption, dict.fromkeys(entry['color'], other))
            yield Case(caption, swapped, inside, (a, b), wished.ab)


def following(
    case: Case, truth: np.ndarray, plain: np.ndarray, told: np.ndarray, swapped: np.ndarray, free: np.ndarray
) -> dict[str, float]:
    """The figures of a case, see `PROTOCOL`; `outside` only where there is something.

    Args:
        case: the colour that was said.
        truth: the photo in its true colours, (H, W, 3) uint8 RGB as the pictures.
        plain: the picture without a caption.
        told: that with it.
        swapped: that with the swapped one.
        free: (H, W) bool, what lies outside all boxes.
    """
    before, after, changed = map(_lab, (plain, told, swapped))
    spreads = [np.sqrt(lab[1:, case.inside].var(axis=1).sum()) for lab in (changed, before)]
    nearer = _distance(changed, case.inside, case.wished) < _distance(changed, case.inside, case.named)
    moved = {'outside': float(np.linalg.norm((after - before)[1:, free].mean(axis=1)))} if free.any() else {}
    return {
        'before': _distance(before, case.inside, case.named),
        'after': _distance(after, case.inside, case.named),
        'swapped': float(nearer),
        **moved,
        'plain': _psnr(truth, plain),
        'told': _psnr(truth, told),
        'spread': float(spreads[0] / max(spreads[1], 1e-6)),
    }


def outside(size: Size, *groups: Instances) -> np.ndarray:
    """(H, W) bool, what no box of some groups of instances covers."""
    free = np.ones(size, bool)
    for instances in groups:
        for x0, y0, x1, y1 in instances.in_pixels().tolist():
            free[y0:y1, x0:x1] = False
    return free


def _area(hint: Hint, size: Size) -> np.ndarray:
    inside = np.zeros(size, bool)
    x0, y0, x1, y1 = hint.box
    inside[y0:y1, x0:x1] = True if hint.mask is None else hint.mask
    return inside


def _lab(picture: np.ndarray) -> np.ndarray:
    return rgb_to_lab(torch.from_numpy(picture).movedim(-1, 0).float() / 255).numpy()


def _distance(lab: np.ndarray, inside: np.ndarray, ab: Sequence[float]) -> float:
    """Lab units from the mean colour of a place to another one."""
    return float(np.linalg.norm(lab[1:, inside].mean(axis=1) - ab))


def _psnr(truth: np.ndarray, picture: np.ndarray) -> float:
    error = np.square(truth.astype(np.float64) - picture).mean()
    return float(10 * np.log10(255**2 / error)) if error else 100.0
