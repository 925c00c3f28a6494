"""sRGB <-> CIELAB <-> network units: the only file that knows 110, 50 or the white point.

Tensors carry their channels third from last, (*, 3, H, W). Lab is CIELAB under D65 (2 degrees): L in 0..100, ab
about +-110. Network units are (L - 50) / 100 and ab / 110 (Zhang et al. 2017, the published code's `l_norm` and
`ab_norm`).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

L_CENTRE = 50.0
L_RANGE = 100.0
AB_RANGE = 110.0

AB_BIN_WIDTH = 10
AB_BINS_PER_AXIS = 23
NUM_AB_BINS = AB_BINS_PER_AXIS**2

# IEC 61966-2-1 primaries, rounded as in scikit-image and the published code.
_XYZ_FROM_RGB = torch.tensor(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]],
    dtype=torch.float64,
)
_RGB_FROM_XYZ = torch.linalg.inv(_XYZ_FROM_RGB)
_WHITE = torch.tensor([0.95047, 1.0, 1.08883], dtype=torch.float64)
GRAY_WEIGHTS = (0.2125, 0.7154, 0.0721)

# Linear light of colours on the surface of sRGB leaves 0..1 by up to 7e-7 in float32; they count as inside.
_ROUNDING = 2e-6


def _mix(matrix: Tensor, x: Tensor) -> Tensor:
    return torch.einsum('ij,...jhw->...ihw', matrix.to(x), x)


def _channelwise(values: Tensor, x: Tensor) -> Tensor:
    return values.to(x).view(3, 1, 1)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Converts floating-point sRGB in 0..1 to CIELAB, L in 0..100, a and b about +-110; both are (*, 3, H, W)."""
    xyz = _mix(_XYZ_FROM_RGB, _to_linear(rgb)) / _channelwise(_WHITE, rgb)
    f = _lab_curve(xyz)
    x, y, z = f.unbind(dim=-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def pixel_lightness(pixels: np.ndarray) -> Tensor:
    """CIELAB L (H, W) float32 in 0..100 of an image's own sRGB pixels (H, W, 3), uint8 or uint16.

    The same as `rgb_to_lab` gives, without its two other channels.
    """
    linear = _linear_table(np.iinfo(pixels.dtype).max)
    luminance = torch.zeros(pixels.shape[:2])
    for channel, weight in enumerate(_XYZ_FROM_RGB[1].tolist()):
        luminance.add_(torch.from_numpy(linear[pixels[..., channel]]), alpha=weight)
    return 116 * _lab_curve(luminance) - 16


@cache
def _linear_table(top: int) -> np.ndarray:
    """(top + 1,) float32: linear light of every pixel value in 0..top."""
    return _to_linear(torch.arange(top + 1, dtype=torch.float64) / top).float().numpy()


def _to_linear(rgb: Tensor) -> Tensor:
    return torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0).pow(2.4), rgb / 12.92)


def _lab_curve(xyz: Tensor) -> Tensor:
    return torch.where(xyz > 0.008856, xyz.clamp(min=0.008856).pow(1 / 3), 7.787 * xyz + 16 / 116)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Converts floating-point CIELAB to sRGB, both (*, 3, H, W).

    Colours outside sRGB leave 0..1, to which the result is not clipped; see `compress_chroma`.
    """
    return from_linear(_lab_to_linear(lab))


def from_linear(linear: Tensor) -> Tensor:
    """sRGB of linear light, elementwise, both 0..1."""
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=0.0031308).pow(1 / 2.4) - 0.055, 12.92 * linear)


def _lab_to_linear(lab: Tensor) -> Tensor:
    """Linear light, 0..1 for colours inside sRGB."""
    lightness, a, b = lab.unbind(dim=-3)
    y = (lightness + 16) / 116
    # A strong blue at a low L would need negative Z; the published code and scikit-image stop at 0 as well.
    f = torch.stack([y + a / 500, y, (y - b / 200).clamp(min=0)], dim=-3)
    xyz = torch.where(f > 0.2068966, f * f * f, (f - 16 / 116) / 7.787) * _channelwise(_WHITE, lab)
    return _mix(_RGB_FROM_XYZ, xyz)


def _fits(lab: Tensor) -> Tensor:
    """(*, H, W) bool: whether colours (*, 3, H, W) lie inside sRGB."""
    low, high = torch.aminmax(_lab_to_linear(lab), dim=-3)
    return (low >= -_ROUNDING) & (high <= 1 + _ROUNDING)


def in_srgb(colours: Sequence[tuple[float, ...]]) -> Tensor:
    """K single colours, L in 0..100, a and b, as (K, 3), those outside sRGB with less chroma; see `compress_chroma`."""
    return compress_chroma(torch.tensor(colours).view(-1, 3).T[..., None])[..., 0].T


def compress_chroma(lab: Tensor, steps: int = 10) -> Tensor:
    """Moves colours outside sRGB towards grey until they fit, at constant lightness and hue angle.

    Args:
        lab: (*, 3, H, W), floating point; L in 0..100.
        steps: bisection steps; the chroma kept is exact to 2^-steps of its length.

    Returns:
        (*, 3, H, W): `lab` with the ab of the colours that do not fit scaled down.
    """
    outside = ~_fits(lab)
    if not outside.any():
        return lab
    pixels = lab.movedim(-3, 0)
    colours = pixels[:, outside]
    kept, overshoots = torch.zeros_like(colours[0]), torch.ones_like(colours[0])
    for _ in range(steps):
        scale = (kept + overshoots) / 2
        candidate = torch.cat([colours[:1], colours[1:] * scale])
        inside = _fits(candidate[..., None])[..., 0]
        kept = torch.where(inside, scale, kept)
        overshoots = torch.where(inside, overshoots, scale)
    pixels = pixels.clone()
    pixels[1:, outside] = colours[1:] * kept
    return pixels.movedim(0, -3)


def rgb_to_gray(rgb: Tensor) -> Tensor:
    """The training data's grey photo: luma rounded to 8 bit, as the published code stores it.

    From sRGB (*, 3, H, W) in 0..1 to three equal channels (*, 3, H, W) in 0..1, multiples of 1/255.
    """
    weights = rgb.new_tensor(GRAY_WEIGHTS).view(3, 1, 1)
    gray = ((rgb * weights).sum(dim=-3, keepdim=True) * 255).round() / 255
    return gray.expand_as(rgb)


def luma(rgb: Tensor) -> Tensor:
    """The grey of 8-bit sRGB as OpenCV has it: (*, 3, H, W) to (*, 1, H, W), both uint8."""
    red, green, blue = rgb.int().split(1, dim=-3)
    return ((9798 * red + 19235 * green + 3735 * blue + 2**14) >> 15).byte()


def from_signed(ab: Tensor) -> Tensor:
    """Network units of a and b whose range -1..1 stands for OpenCV's 8-bit codes 0..255; 128 is its grey."""
    return (127.5 * ab - 0.5) / AB_RANGE


def to_signed(ab: Tensor) -> Tensor:
    """What `from_signed` takes, from network units; rounded once, so that codes cut to 8 bit do not change."""
    return ((ab.double() * AB_RANGE + 0.5) / 127.5).float()


def to_network(lab: Tensor) -> tuple[Tensor, Tensor]:
    """Splits Lab (*, 3, H, W) into network units: lightness (*, 1, H, W) and ab (*, 2, H, W)."""
    return (lab[..., :1, :, :] - L_CENTRE) / L_RANGE, lab[..., 1:, :, :] / AB_RANGE


def from_network(lightness: Tensor, ab: Tensor) -> Tensor:
    """Joins lightness (*, 1, H, W) and ab (*, 2, H, W) in network units into Lab (*, 3, H, W)."""
    return torch.cat([lightness * L_RANGE + L_CENTRE, ab * AB_RANGE], dim=-3)


def lightness_to_gray(lightness: Tensor) -> Tensor:
    """The grey sRGB value in 0..1 of each lightness in network units, whatever the shape."""
    lab = F.pad((lightness * L_RANGE + L_CENTRE).unsqueeze(-3), (0, 0, 0, 0, 0, 2))
    return lab_to_rgb(lab)[..., 1, :, :].clamp(0, 1)


def ab_to_bins(ab: Tensor) -> Tensor:
    """Class index of each colour: 23 * round((a + 110) / 10) + round((b + 110) / 10), in Lab units.

    From ab (N, 2, H, W) in network units to (N, H, W) int64 in 0..528.
    """
    cells = ((ab * AB_RANGE + AB_RANGE) / AB_BIN_WIDTH).round().clamp(0, AB_BINS_PER_AXIS - 1).long()
    return cells[:, 0] * AB_BINS_PER_AXIS + cells[:, 1]


class BinSet:
    """The colour classes of a class head: cells of the 23 x 23 grid over ab, in its order (Zhang et al. 2016).

    Args:
        cells: numbers of the grid's cells, as `ab_to_bins` gives them; None for all 529.

    Attributes:
        cells: (Q,) int64, the numbers of the classes' cells.
        centres: (Q, 2) the classes' colours in network units; of all, row 23 * i + j is (10 i - 110, 10 j - 110) Lab
            units.
    """

    def __init__(self, cells: Sequence[int] | None = None) -> None:
        axis = (torch.arange(AB_BINS_PER_AXIS) * AB_BIN_WIDTH - AB_RANGE) / AB_RANGE
        grid = torch.cartesian_prod(axis, axis)
        self.whole = cells is None
        self.cells = torch.tensor(range(NUM_AB_BINS) if cells is None else cells)
        self.centres = grid[self.cells]

    def __len__(self) -> int:
        return len(self.centres)

    def nearest(self, ab: Tensor) -> Tensor:
        """(N, H, W) int64, the class of each colour of ab (N, 2, H, W) in network units."""
        return ab_to_bins(ab) if self.whole else self.soft(ab, 1)[0][:, 0]

    def soft(self, ab: Tensor, neighbours: int = 5, sigma: float = 5.0) -> tuple[Tensor, Tensor]:
        """The classes around each colour and how near they are (Zhang et al. 2016, section 2.1).

        Args:
            ab: (N, 2, H, W) in network units.
            neighbours: K, how many of the nearest classes share a colour.
            sigma: width of the Gaussian by which distance counts, in Lab units.

        Returns:
            Class indices (N, K, H, W) int64, nearest first, and their shares (N, K, H, W), which add up to 1.
        """
        count, _, height, width = ab.shape
        pixels = ab.movedim(1, -1).reshape(-1, 2).float()
        exact = 'donot_use_mm_for_euclid_dist'
        distance = AB_RANGE * torch.cdist(pixels, self.centres.to(ab.device), compute_mode=exact)
        nearest, index = distance.topk(neighbours, dim=1, largest=False)
        shares = (-nearest.square() / (2 * sigma**2)).softmax(dim=1)
        return tuple(value.view(count, height, width, neighbours).movedim(-1, 1) for value in (index, shares))  # type: ignore[return-value]
