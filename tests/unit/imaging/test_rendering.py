"""Joining colour with a photograph; lightness and hue are judged by scikit-image, resizing by OpenCV."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from skimage.color import lab2lch, rgb2lab

from insta_colorization.imaging import rendering
from insta_colorization.imaging.rendering import Patch, colorize_pixels, guided_coefficients


def lab_of(pixels: np.ndarray) -> np.ndarray:
    return rgb2lab(pixels / np.iinfo(pixels.dtype).max)


def photo(dtype: type, colour: bool = False) -> np.ndarray:
    """A photograph of 300x201 pixels with black, white and pure colours in its first rows, at full precision."""
    image = cv2.resize(data.astronaut(), (201, 300), interpolation=cv2.INTER_AREA).astype(np.float64) / 255
    image = cv2.GaussianBlur(image, (0, 0), 1)
    if not colour:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    image[0], image[1] = 0, 1
    if colour:
        image[2], image[3] = (0, 0, 1), (1, 1, 0)
    top = np.iinfo(dtype).max
    return (image * top).round().astype(dtype)


def random_ab(spread: float, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """(2, h, w) smooth random colour whose largest component is `spread` network units."""
    noise = cv2.resize(np.random.default_rng(5).normal(size=(8, 8, 2)), size[::-1], interpolation=cv2.INTER_CUBIC)
    return (noise / np.abs(noise).max() * spread).transpose(2, 0, 1).astype(np.float32)


@pytest.mark.parametrize('upsampling', ['guided', 'bilinear'])
@pytest.mark.parametrize('spread', [0.2, 1.0, 3.0], ids=['mild', 'saturated', 'mostly_outside_srgb'])
@pytest.mark.parametrize('colour', [False, True], ids=['grey', 'colour'])
@pytest.mark.parametrize(('dtype', 'mean', 'most'), [(np.uint8, 0.3, 1.0), (np.uint16, 0.01, 0.05)], ids=['8', '16'])
def test_lightness_is_the_photos_own(
    dtype: type, mean: float, most: float, colour: bool, spread: float, upsampling: str
) -> None:
    source = photo(dtype, colour)
    result = colorize_pixels(source, random_ab(spread), upsampling=upsampling)
    assert result.dtype == dtype
    assert result.shape == source.shape
    lab = lab_of(result)
    error = np.abs(lab[..., 0] - lab_of(source)[..., 0])
    assert error.mean() < mean
    assert error.max() < most
    assert np.hypot(*lab[..., 1:].transpose(2, 0, 1)).mean() > 3


def test_hue_never_jumps_outside_srgb() -> None:
    hues = np.linspace(-np.pi, np.pi, 48, endpoint=False)
    ab = np.stack([np.cos(hues), np.sin(hues)])[:, None] * np.ones((1, 40, 1))
    grey = np.linspace(8000, 60000, 40).round().astype(np.uint16)
    source = np.broadcast_to(grey[:, None, None], (40, 48, 3))
    lch = lab2lch(lab_of(colorize_pixels(source, ab, upsampling='bilinear')))
    turn = np.angle(np.exp(1j * (lch[..., 2] - hues)))
    assert np.abs(turn)[lch[..., 1] > 5].max() < 0.01
    assert lch[..., 1].min() > 5


def test_colour_that_fits_arrives_unchanged() -> None:
    ab = np.broadcast_to(np.array([12.0, -9.0])[:, None, None] / 110, (2, 32, 32))
    source = np.full((50, 70, 3), 30000, np.uint16)
    lab = lab_of(colorize_pixels(source, ab))
    np.testing.assert_allclose(lab[..., 1:], np.broadcast_to([12.0, -9.0], (50, 70, 2)), atol=0.01)


@pytest.mark.parametrize('size', [(300, 201), (64, 1000), (64, 64), (65, 700)], ids=str)
def test_bilinear_is_opencvs(size: tuple[int, int]) -> None:
    ab = random_ab(0.15)
    source = np.full((*size, 3), 32000, np.uint16)
    expected = cv2.resize(ab.transpose(1, 2, 0), size[::-1], interpolation=cv2.INTER_LINEAR) * 110
    lab = lab_of(colorize_pixels(source, ab, upsampling='bilinear'))
    np.testing.assert_allclose(lab[..., 1:], expected, atol=0.03)


def test_guided_follows_an_edge_that_bilinear_blurs() -> None:
    source = np.full((256, 256, 3), 90, np.uint8)
    source[:, 131:] = 150  # in the middle of a cell of the 32x32 grid
    left = np.arange(256) < 131
    truth = np.where(left, 20.0, -15.0)
    grid = np.broadcast_to(truth.reshape(32, 8).mean(axis=1), (2, 32, 32)) / 110
    errors = {}
    for upsampling in ('guided', 'bilinear'):
        lab = lab_of(colorize_pixels(source, grid, upsampling=upsampling))
        errors[upsampling] = np.abs(lab[..., 1] - truth).mean()
    assert errors['guided'] < 0.5 * errors['bilinear']


def test_guided_is_bilinear_on_a_flat_photo() -> None:
    source = np.full((90, 120, 3), 120, np.uint8)
    guided, bilinear = (colorize_pixels(source, random_ab(0.3), upsampling=u) for u in ('guided', 'bilinear'))
    assert np.abs(guided.astype(int) - bilinear).max() <= 1


def test_guided_keeps_the_prediction_at_the_networks_grid() -> None:
    lightness = torch.rand(48, 80, generator=torch.Generator().manual_seed(1)) * 100
    ab = torch.rand(2, 48, 80, generator=torch.Generator().manual_seed(2)) * 60
    coefficients = guided_coefficients(lightness, ab)
    assert coefficients.shape == (4, 48, 80)
    torch.testing.assert_close(coefficients[:2] * lightness + coefficients[2:], ab, atol=1e-3, rtol=0)


def test_guided_finds_a_linear_relation() -> None:
    lightness = torch.rand(160, 240, generator=torch.Generator().manual_seed(1)) * 100
    grid = torch.nn.functional.avg_pool2d(lightness[None], 4)
    coefficients = guided_coefficients(lightness, torch.cat([0.4 * grid - 20, 5 - 0.1 * grid]), flat=1e-6)
    expected = torch.tensor([0.4, -0.1, -20.0, 5.0]).view(4, 1, 1).expand(4, 40, 60)
    torch.testing.assert_close(coefficients, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize('off', [{'strength': 0.0}, {'saturation': 0.0}], ids=str)
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_no_colour_gives_the_grey_photo(dtype: type, off: dict[str, float]) -> None:
    source = np.arange(np.iinfo(dtype).max + 1).astype(dtype).reshape(16, -1, 1).repeat(3, axis=2)
    result = colorize_pixels(source, random_ab(0.5), **off)
    # 16 bit: the rounded primaries make the neutral axis deviate from equal channels by up to 1e-4.
    assert np.abs(result.astype(int) - source).max() <= (0 if dtype == np.uint8 else 6)


def test_saturation_multiplies_and_strength_blends() -> None:
    source = np.full((40, 40, 3), 33000, np.uint16)
    ab = random_ab(0.12)
    once = lab_of(colorize_pixels(source, ab))[..., 1:]
    np.testing.assert_allclose(lab_of(colorize_pixels(source, ab, saturation=2))[..., 1:], 2 * once, atol=0.02)
    np.testing.assert_allclose(lab_of(colorize_pixels(source, ab, strength=0.5))[..., 1:], once / 2, atol=0.02)


def test_strength_blends_with_the_colour_that_fits() -> None:
    source = np.full((40, 40, 3), 33000, np.uint16)
    ab = random_ab(3.0)
    whole = lab_of(colorize_pixels(source, ab))[..., 1:]
    np.testing.assert_allclose(lab_of(colorize_pixels(source, ab, strength=0.5))[..., 1:], whole / 2, atol=0.02)


@pytest.mark.parametrize('upsampling', ['guided', 'bilinear'])
def test_strips_do_not_show(upsampling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, ab = photo(np.uint16), random_ab(0.8)
    whole = colorize_pixels(source, ab, upsampling=upsampling)
    monkeypatch.setattr(rendering, '_STRIP_PIXELS', 23 * 201)
    pieces = colorize_pixels(source, ab, upsampling=upsampling)
    # Rounding may turn the last of ten bisection steps outside sRGB: 1/1024 of the range.
    assert np.abs(whole.astype(int) - pieces).max() <= 64
    assert np.abs(whole.astype(int) - pieces).mean() < 0.1


@pytest.mark.parametrize('upsampling', ['guided', 'bilinear'])
@pytest.mark.parametrize('size', [(1, 1), (1, 300), (3, 2), (10, 12000), (12000, 10)], ids=str)
def test_extreme_sizes(size: tuple[int, int], upsampling: str) -> None:
    source = np.random.default_rng(0).integers(0, 256, (*size, 1)).astype(np.uint8).repeat(3, axis=2)
    result = colorize_pixels(source, random_ab(0.4, (256, 256)), upsampling=upsampling)
    assert result.shape == source.shape
    assert np.abs(lab_of(result)[..., 0] - lab_of(source)[..., 0]).mean() < 0.3


def test_one_pixel_takes_the_mean_colour() -> None:
    ab = random_ab(0.2) + np.array([0.1, 0.05], np.float32)[:, None, None]
    lab = lab_of(colorize_pixels(np.full((1, 1, 3), 33000, np.uint16), ab))
    np.testing.assert_allclose(lab[0, 0, 1:], ab.mean(axis=(1, 2)) * 110, atol=0.02)


def test_tensors_of_any_precision_and_graph_are_taken() -> None:
    source, ab = photo(np.uint8), random_ab(0.4)
    expected = colorize_pixels(source, ab)
    np.testing.assert_array_equal(colorize_pixels(source, torch.from_numpy(ab).requires_grad_()), expected)
    np.testing.assert_array_equal(colorize_pixels(source, ab.astype(np.float64)), expected)


def test_input_is_left_alone() -> None:
    source, ab = photo(np.uint8), torch.from_numpy(random_ab(2.0))
    kept, kept_ab = source.copy(), ab.clone()
    colorize_pixels(source, ab, strength=0.5)
    np.testing.assert_array_equal(source, kept)
    assert torch.equal(ab, kept_ab)


def flat(a: float, b: float) -> np.ndarray:
    """(2, 4, 4) of one colour in Lab units, in network units."""
    return np.broadcast_to(np.array([a, b], np.float32)[:, None, None] / 110, (2, 4, 4))


class TestPatches:
    SOURCE = np.full((50, 70, 3), 33000, np.uint16)

    @pytest.mark.parametrize('rows', [7, 1000], ids=['strips', 'whole'])
    def test_lie_over_the_base_the_last_on_top(self, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rendering, '_STRIP_PIXELS', rows * 70)
        mask = np.zeros((20, 30))
        mask[:, :10], mask[:, 10:20] = 1, 0.5
        patches = [Patch((10, 5, 40, 25), flat(20, 0), mask), Patch((10, 5, 15, 10), flat(0, 20))]
        expected = np.broadcast_to([-10.0, -10.0], (50, 70, 2)).copy()
        expected[5:25, 10:20], expected[5:25, 20:30] = (20, 0), (5, -5)
        expected[5:10, 10:15] = (0, 20)

        lab = lab_of(colorize_pixels(self.SOURCE, flat(-10, -10), patches=patches))

        np.testing.assert_allclose(lab[..., 1:], expected, atol=0.02)

    @pytest.mark.parametrize('upsampling', ['guided', 'bilinear'])
    def test_over_the_whole_photo_is_the_base(self, upsampling: str) -> None:
        source, ab = photo(np.uint8), random_ab(0.4)
        over = colorize_pixels(source, flat(9, 9), patches=[Patch((0, 0, 201, 300), ab)], upsampling=upsampling)
        np.testing.assert_array_equal(over, colorize_pixels(source, ab, upsampling=upsampling))

    def test_follow_the_edges_of_their_own_part(self) -> None:
        source, ab = photo(np.uint8), torch.from_numpy(random_ab(0.3, (32, 32)))
        box = (40, 60, 140, 200)
        result = colorize_pixels(source, flat(0, 0), patches=[Patch(box, ab)])
        np.testing.assert_array_equal(result[60:200, 40:140], colorize_pixels(source[60:200, 40:140], ab))

    @pytest.mark.parametrize(
        ('patch', 'message'),
        [
            pytest.param(((0, 0, 71, 9), flat(0, 0)), r'size \(50, 70\), but got \(0, 0, 71, 9\)', id='outside'),
            pytest.param(((5, 0, 5, 9), flat(0, 0)), r'but got \(5, 0, 5, 9\)', id='no area'),
            pytest.param(((0, 0, 8, 9), flat(0, 0)[:1]), r'but got \(1, 4, 4\)', id='one channel'),
            pytest.param(((0, 0, 8, 9), flat(0, 0), np.ones((8, 9))), r'\(9, 8\), but got \(8, 9\)', id='mask'),
        ],
    )
    def test_bad_input_is_named(self, patch: tuple, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            colorize_pixels(self.SOURCE, flat(0, 0), patches=[Patch(*patch)])


def test_clipping_changes_lightness_where_compressing_does_not() -> None:
    source, ab = photo(np.uint8), random_ab(2.0)
    compressed, clipped = (lab_of(colorize_pixels(source, ab, gamut=gamut)) for gamut in ('compress', 'clip'))
    lightness = lab_of(source)[..., 0]
    assert np.abs(compressed[..., 0] - lightness).mean() < 0.3 < 3 < np.abs(clipped[..., 0] - lightness).mean()
    fits = random_ab(0.05)
    pair = [colorize_pixels(np.full((40, 40, 3), 120, np.uint8), fits, gamut=gamut) for gamut in ('compress', 'clip')]
    np.testing.assert_array_equal(*pair)


def test_curve_decides_chroma_and_leaves_hue() -> None:
    source, ab = np.full((40, 40, 3), 33000, np.uint16), random_ab(0.3)
    plain = lab2lch(lab_of(colorize_pixels(source, ab)))
    curved = lab2lch(lab_of(colorize_pixels(source, ab, curve=lambda chroma, lightness: chroma.clamp(max=10))))
    np.testing.assert_allclose(curved[..., 1], plain[..., 1].clip(max=10), atol=0.02)
    grey = colorize_pixels(source, ab * 0, curve=lambda chroma, lightness: chroma + 5)
    assert np.ptp(grey.astype(int), axis=2).max() <= 6  # what has no hue stays grey


PIXELS, AB = np.zeros((4, 5, 3), np.uint8), np.zeros((2, 8, 8), np.float32)


@pytest.mark.parametrize(
    ('pixels', 'ab', 'options', 'message'),
    [
        pytest.param(PIXELS[..., 0], AB, {}, r'photo_pixels must have shape .* got \(4, 5\)', id='grey_array'),
        pytest.param(PIXELS[:0], AB, {}, r'got \(0, 5, 3\)', id='no_pixels'),
        pytest.param(PIXELS / 255, AB, {}, 'uint8 or uint16, but got float64', id='float'),
        pytest.param(PIXELS, AB[None], {}, r'ab must have shape \(2, h, w\), but got \(1, 2, 8, 8\)', id='batch'),
        pytest.param(PIXELS, AB[:1], {}, r'got \(1, 8, 8\)', id='one_channel'),
        pytest.param(PIXELS, AB * np.nan, {}, '128 of 128 values are not', id='nan'),
        pytest.param(PIXELS, AB, {'upsampling': 'cubic'}, "guided, bilinear, but got 'cubic'", id='upsampling'),
        pytest.param(PIXELS, AB, {'gamut': 'none'}, "compress, clip, but got 'none'", id='gamut'),
        pytest.param(PIXELS, AB, {'saturation': -1}, 'at least 0 and finite, but got -1', id='saturation'),
        pytest.param(PIXELS, AB, {'saturation': float('nan')}, 'but got nan', id='saturation_nan'),
        pytest.param(PIXELS, AB, {'strength': 1.5}, r'lie in 0\.\.1, but got 1\.5', id='strength'),
    ],
)
def test_bad_input_is_named(pixels: np.ndarray, ab: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        colorize_pixels(pixels, ab, **options)


# Not `getrusage`, whose peak begins with that of the process that started this one.
MEASURE = """
import re, numpy as np, torch
from pathlib import Path
from insta_colorization.imaging.rendering import colorize_pixels

def peak():
    return int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])

pixels = np.random.default_rng(0).integers(0, 65536, (2000, 4000, 1), dtype=np.uint16).repeat(3, axis=2)
ab = torch.randn(2, 256, 256) / 4
colorize_pixels(pixels[:100], ab)
before = peak()
colorize_pixels(pixels, ab)
print((peak() - before) / 1024)
"""


@pytest.mark.slow
def test_memory_for_8_megapixels_is_bounded() -> None:
    done = subprocess.run([sys.executable, '-c', MEASURE], capture_output=True, text=True, check=True)
    assert 46 < float(done.stdout) < 133  # MiB, of which the 16-bit result is 46
