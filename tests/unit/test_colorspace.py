"""Colour space; the truth comes from scikit-image, which converts in double precision and one pixel at a time."""

import math

import numpy as np
import pytest
import torch
from skimage.color import lab2lch, lab2rgb, rgb2gray, rgb2lab
from torch import Tensor

from insta_colorization.colorspace import (
    NUM_AB_BINS,
    BinSet,
    ab_to_bins,
    compress_chroma,
    from_network,
    lab_to_rgb,
    pixel_lightness,
    rgb_to_gray,
    rgb_to_lab,
    to_network,
)


def last(x: Tensor) -> np.ndarray:
    """(*, 3, H, W) tensor -> (*, H, W, 3) array, as scikit-image has it."""
    return x.movedim(-3, -1).numpy()


def random_rgb(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def random_lab(chroma: float, count: int = 4096) -> Tensor:
    """(3, 1, count) colours of random L and hue, with chroma up to the given one."""
    values = torch.rand(3, 1, count, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    hue, radius = values[1] * 2 * math.pi, values[2] * chroma
    return torch.stack([values[0] * 100, radius * hue.cos(), radius * hue.sin()])


CORNERS = torch.tensor([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)]).T[:, None].double()


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float32, 1e-3), (torch.float64, 1e-9)], ids=str)
@pytest.mark.parametrize(
    'rgb',
    [
        pytest.param(random_rgb(3, 40, 50), id='random'),
        pytest.param(random_rgb(3, 40, 50) * 0.05, id='dark'),
        pytest.param(CORNERS, id='corners'),
        pytest.param((torch.arange(256) / 255).expand(3, 1, 256), id='greys'),
    ],
)
def test_rgb_to_lab_is_scikit_images(rgb: Tensor, dtype: torch.dtype, tolerance: float) -> None:
    rgb = rgb.to(dtype)
    np.testing.assert_allclose(last(rgb_to_lab(rgb)), rgb2lab(last(rgb.double())), atol=tolerance)


@pytest.mark.filterwarnings('ignore:Conversion from CIE-LAB')
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float32, 2e-5), (torch.float64, 1e-9)], ids=str)
@pytest.mark.parametrize('chroma', [20, 150], ids=['mostly_inside', 'mostly_outside'])
def test_lab_to_rgb_is_scikit_images(chroma: float, dtype: torch.dtype, tolerance: float) -> None:
    lab = random_lab(chroma)
    rgb = lab_to_rgb(lab.to(dtype)).clamp(0, 1)
    np.testing.assert_allclose(last(rgb), lab2rgb(last(lab)), atol=tolerance)


def test_there_and_back_is_the_identity() -> None:
    rgb = random_rgb(2, 3, 20, 20)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=1e-5, rtol=0)


@pytest.mark.parametrize('function', [rgb_to_lab, lab_to_rgb, rgb_to_gray, compress_chroma])
@pytest.mark.parametrize('batch', [(), (4,), (2, 3), (0,)], ids=str)
def test_leading_dimensions_are_free(batch: tuple[int, ...], function: object) -> None:
    x = random_rgb(*batch, 3, 6, 7)
    if function in (lab_to_rgb, compress_chroma):
        x = (x - 0.4) * 120
    result = function(x)
    assert result.shape == x.shape
    for one, expected in zip(x.reshape(-1, 3, 6, 7), result.reshape(-1, 3, 6, 7), strict=True):
        torch.testing.assert_close(function(one), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize('function', [rgb_to_lab, lab_to_rgb])
def test_gradients_are_finite_everywhere(function: object) -> None:
    x = CORNERS.clone().requires_grad_() if function is rgb_to_lab else random_lab(100, 64).requires_grad_()
    function(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_pixel_lightness_is_scikit_images(dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (60, 70, 3)).astype(dtype)
    pixels[:10] //= 40
    pixels[-1, :2] = np.array([[0], [np.iinfo(dtype).max]])
    lightness = pixel_lightness(pixels)
    assert lightness.dtype == torch.float32
    np.testing.assert_allclose(lightness.numpy(), rgb2lab(pixels / np.iinfo(dtype).max)[..., 0], atol=1e-4)


def test_gray_is_scikit_images_rounded_to_8_bit() -> None:
    rgb = random_rgb(3, 30, 30)
    gray = rgb_to_gray(rgb)
    expected = np.round(rgb2gray(last(rgb.double())) * 255) / 255
    for channel in gray:
        np.testing.assert_allclose(channel.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_compressed_colours_fit_and_keep_lightness_and_hue(dtype: torch.dtype) -> None:
    lab = random_lab(200).to(dtype)
    result = compress_chroma(lab)
    rgb = lab_to_rgb(result)
    assert rgb.min() > -1e-4
    assert rgb.max() < 1 + 1e-4
    torch.testing.assert_close(result[0], lab[0], atol=0, rtol=0)
    before, after = lab2lch(last(lab.double())), lab2lch(last(result.double()))
    coloured = after[..., 1] > 1e-3
    turn = np.abs(np.angle(np.exp(1j * (after - before)[..., 2])))
    assert turn[coloured].max() < 1e-4
    assert (after[..., 1] <= before[..., 1]).all()


def test_compression_takes_no_more_than_needed() -> None:
    lab = random_lab(200)
    lab[0] = lab[0] * 0.8 + 10
    result = compress_chroma(lab)
    moved = (result != lab).any(dim=0)
    assert 0.2 < moved.float().mean() < 0.95
    wider = lab.clone()
    wider[1:] = result[1:] + 0.01 * (lab[1:] - result[1:]).sign() * lab[1:].abs()
    rgb = lab2rgb_unclipped(wider)[:, moved]
    assert ((rgb < 0) | (rgb > 1)).any(dim=0).all()


def lab2rgb_unclipped(lab: Tensor) -> Tensor:
    """(3, 1, R) linear light of CIELAB by the textbook (CIE 15), to tell inside from outside."""
    from skimage.color.colorconv import rgb_from_xyz

    y = (lab[0] + 16) / 116
    f = torch.stack([y + lab[1] / 500, y, y - lab[2] / 200])
    xyz = torch.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)).clamp(min=0)
    xyz = xyz * torch.tensor([0.95047, 1.0, 1.08883]).double().view(3, 1, 1)
    return torch.einsum('ij,jhw->ihw', torch.from_numpy(rgb_from_xyz), xyz)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_colours_that_fit_are_left_alone(dtype: torch.dtype) -> None:
    axis = torch.linspace(0, 1, 18, dtype=dtype)  # the surface, greys, black and white included
    rgb = torch.stack(torch.meshgrid(axis, axis, axis, indexing='ij')).reshape(3, 18, -1)
    lab = rgb_to_lab(rgb)
    assert torch.equal(compress_chroma(lab), lab)


@pytest.mark.parametrize('level', [0.0, 100.0], ids=['black', 'white'])
def test_black_and_white_hold_no_colour(level: float) -> None:
    lab = torch.tensor([level, 60.0, -40.0]).view(3, 1, 1)
    result = lab_to_rgb(compress_chroma(lab))
    torch.testing.assert_close(result, torch.full((3, 1, 1), level / 100), atol=2e-3, rtol=0)


def test_network_units() -> None:
    lab = torch.tensor([[0.0, 50.0, 100.0], [-110.0, 0.0, 110.0], [55.0, -55.0, 11.0]]).view(3, 1, 3)
    lightness, ab = to_network(lab)
    torch.testing.assert_close(lightness, torch.tensor([[[-0.5, 0.0, 0.5]]]))
    torch.testing.assert_close(ab, torch.tensor([[[-1.0, 0.0, 1.0]], [[0.5, -0.5, 0.1]]]))
    torch.testing.assert_close(from_network(lightness, ab), lab)


def test_network_units_of_a_batch() -> None:
    lab = random_rgb(5, 3, 4, 6) * 100
    lightness, ab = to_network(lab)
    assert lightness.shape == (5, 1, 4, 6)
    assert ab.shape == (5, 2, 4, 6)
    torch.testing.assert_close(from_network(lightness, ab), lab)


@pytest.mark.parametrize(
    ('ab', 'index'),
    [
        pytest.param((0.0, 0.0), 11 * 23 + 11, id='grey'),
        pytest.param((-110.0, -110.0), 0, id='first'),
        pytest.param((110.0, 110.0), 528, id='last'),
        pytest.param((-110.0, 110.0), 22, id='b_is_the_faster_axis'),
        pytest.param((14.9, -14.9), 12 * 23 + 10, id='rounds'),
        pytest.param((200.0, -200.0), 22 * 23, id='clamped'),
    ],
)
def test_class_of_a_colour(ab: tuple[float, float], index: int) -> None:
    assert ab_to_bins(torch.tensor(ab).view(1, 2, 1, 1) / 110).item() == index


def test_class_centres_are_their_own_class() -> None:
    centres = BinSet().centres
    assert centres.shape == (NUM_AB_BINS, 2) == (529, 2)
    bins = ab_to_bins(centres.T.view(1, 2, 23, 23))
    assert torch.equal(bins.flatten(), torch.arange(529))


def test_class_centre_is_the_nearest() -> None:
    ab = random_rgb(2, 2, 9, 9) * 2 - 1
    bins = ab_to_bins(ab)
    assert bins.shape == (2, 9, 9)
    nearest = torch.cdist(ab.movedim(1, -1).reshape(-1, 2), BinSet().centres).argmin(dim=1)
    assert torch.equal(bins.flatten(), nearest)
