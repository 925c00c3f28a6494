"""TIFFs that one library alone reads, or none as a photo; truth comes from tifffile, scikit-image and Pillow."""

import io
import struct
import sys
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import img_as_ubyte, img_as_uint
from skimage.color import lab2rgb, rgb2lab

from insta_colorization.imaging import codecs
from insta_colorization.imaging.codecs import pages_in, xmp_of
from insta_colorization.imaging.decoders import libvips
from insta_colorization.imaging.exif import tiff_metadata
from insta_colorization.imaging.photo import ImageReadError, as_photo, decode_photo, load_rgb
from insta_colorization.imaging.tiff import MOST_PAGES, layouts_of

pytest.importorskip('pyvips', reason='pip install "pyvips[binary]"')

LOWEST, HIGHEST = 340, 341
GREY = np.kron(np.random.default_rng(0).integers(0, 256, (4, 6)), np.ones((8, 8))).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
STEPS = np.tile(np.arange(0, 65536, 257, np.uint16), (4, 1))


def tiff(pixels: np.ndarray, photometric: str = 'minisblack', **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, photometric=photometric, **options)
    return out.getvalue()


def by_pillow(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, 'TIFF', **options)
    return out.getvalue()


def assembled(pixels: bytes, width: int, height: int, *tags: tuple[int, int, int]) -> bytes:
    """A little-endian TIFF of one strip, from (tag, type, value)."""
    start = 8 + 2 + 12 * len({257, 256, 273, 278, 279, 277, *(tag for tag, _, _ in tags)}) + 4
    own = [(256, 4, width), (257, 4, height), (273, 4, start), (278, 4, height), (279, 4, len(pixels)), (277, 3, 1)]
    entries = sorted({tag: (tag, kind, value) for tag, kind, value in (*own, *tags)}.values())
    directory = b''.join(struct.pack('<HHLL', tag, kind, 1, value) for tag, kind, value in entries)
    head = b'II*\0' + struct.pack('<LH', 8, len(entries)) + directory
    return head.ljust(start, b'\0') + pixels


def packed(values: np.ndarray, bits: int) -> bytes:
    """A TIFF of grey values of any number of bits, whose rows begin at bytes."""
    rows = (''.join(f'{value:0{bits}b}' for value in row) for row in values.tolist())
    padded = [row.ljust(-(-len(row) // 8) * 8, '0') for row in rows]
    data = b''.join(int(row, 2).to_bytes(len(row) // 8, 'big') for row in padded)
    return assembled(data, values.shape[1], len(values), (258, 3, bits), (259, 3, 1), (262, 3, 1))


def old_jpeg() -> bytes:
    """A JPEG in a TIFF as TIFF 6.0 had it, by its place and length."""
    out = io.BytesIO()
    Image.fromarray(COLOUR).save(out, 'JPEG', quality=95, subsampling=0)
    data, start = out.getvalue(), 8 + 2 + 12 * 12 + 4
    tags = [(258, 3, 8), (259, 3, 6), (262, 3, 6), (277, 3, 3), (512, 3, 1), (513, 4, start), (514, 4, len(data))]
    return assembled(data, COLOUR.shape[1], len(COLOUR), *tags)


PLANES = np.ascontiguousarray(COLOUR.transpose(2, 0, 1))
VALID = {
    'planar, tiled': tiff(PLANES, 'rgb', planarconfig='separate', tile=(16, 16)),
    'planar, tiled, deflate': tiff(PLANES, 'rgb', planarconfig='separate', tile=(16, 16), compression='deflate'),
    'LZMA': tiff(COLOUR, 'rgb', compression='lzma'),
    'Zstandard': by_pillow(Image.fromarray(COLOUR), compression='zstd'),
    'LZMA, 16-bit grey': tiff(GREY.astype(np.uint16) * 257, compression='lzma'),
    'BigTIFF, LZMA': tiff(COLOUR, 'rgb', compression='lzma', bigtiff=True),
}


@pytest.mark.parametrize('kind', VALID)
def test_pixels_are_those_of_tifffile(kind: str) -> None:
    data = VALID[kind]
    expected = PLANES.transpose(1, 2, 0) if 'zst' in kind.lower() else tifffile.imread(io.BytesIO(data))
    expected = expected.transpose(1, 2, 0) if len(expected) == 3 else expected
    photo = decode_photo(data, kind)
    assert photo.pixels.dtype == expected.dtype
    np.testing.assert_array_equal(photo.pixels, expected if expected.ndim == 3 else np.dstack([expected] * 3))


@pytest.mark.parametrize(
    ('data', 'within'),
    [pytest.param(old_jpeg(), 3, id='old JPEG'), pytest.param(by_pillow(Image.fromarray(COLOUR).convert('YCbCr')), 3)],
)
def test_luminance_and_chrominance_become_rgb(data: bytes, within: int) -> None:
    assert np.abs(decode_photo(data, 'x').pixels.astype(int) - COLOUR).max() <= within
    assert np.abs(load_rgb(io.BytesIO(data)).astype(int) - COLOUR).max() <= within


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_what_pillow_reads_is_turned_once_and_keeps_the_rest(orientation: int) -> None:
    plain = tiff(COLOUR, 'rgb', resolution=(300, 300), resolutionunit='INCH')
    data = tiff(
        COLOUR,
        'rgb',
        compression='lzma',
        resolution=(300, 300),
        resolutionunit='INCH',
        extratags=[(274, 3, 1, orientation, True), (315, 2, 0, 'Fräulein Weber'.encode(), True)],
    )
    photo = decode_photo(data, 'x')
    turned = {1: COLOUR, 3: COLOUR[::-1, ::-1], 6: np.rot90(COLOUR, -1), 8: np.rot90(COLOUR)}[orientation]
    np.testing.assert_array_equal(photo.pixels, turned)
    assert photo.metadata.dpi == pytest.approx(decode_photo(plain, 'x').metadata.dpi)
    assert 'Fräulein Weber'.encode() in photo.metadata.blobs['exif-data']


LIGHT = np.tile(np.linspace(0, 100, 51), (4, 1))
SHIFTED = np.full_like(LIGHT, 12.0)
LAB8 = np.dstack([(LIGHT * 2.55).round(), SHIFTED, -SHIFTED])
LAB16 = np.dstack([(LIGHT * 655.35).round(), SHIFTED * 256, -SHIFTED * 256])


@pytest.mark.parametrize(
    ('data', 'within'),
    [
        pytest.param(tiff(LAB8.astype(np.int16).astype(np.uint8), 'cielab'), 0.6, id='CIELAB 8'),
        pytest.param(tiff((LAB8 + np.array((0, 128, 128))).astype(np.uint8), 'icclab'), 0.6, id='ICC Lab 8'),
        pytest.param(tiff(LAB16.astype(np.int32).astype(np.uint16), 'cielab'), 0.02, id='CIELAB 16'),
        pytest.param(
            tiff((LAB16 * (65280 / 65535, 1, 1) + (0, 32768, 32768)).astype(np.uint16), 'icclab'), 0.02, id='ICC Lab 16'
        ),
        pytest.param(tiff(np.dstack([LIGHT, SHIFTED, -SHIFTED]).astype(np.float32), 'cielab'), 0.02, id='CIELAB float'),
    ],
)
def test_lightness_of_cielab_is_that_of_scikit_image(data: bytes, within: float) -> None:
    """Where sRGB has the colour; 8 bits of RGB are half a level away."""
    photo = decode_photo(data, 'x')
    assert photo.pixels.dtype == (np.uint8 if within > 0.1 else np.uint16)
    with warnings.catch_warnings(action='ignore'):
        rgb = lab2rgb(np.dstack([LIGHT, SHIFTED, -SHIFTED]))
    found = rgb2lab(photo.pixels / np.iinfo(photo.pixels.dtype).max)
    inside = ((rgb > 0.002) & (rgb < 0.998)).all(axis=-1)
    assert inside.sum() > 100
    np.testing.assert_allclose(found[inside][:, 0], rgb2lab(rgb)[inside][:, 0], atol=within)
    np.testing.assert_allclose(found[inside][:, 1:], np.full((inside.sum(), 2), (12, -12)), atol=2)


@pytest.mark.parametrize('white_is_zero', [False, True])
@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        pytest.param(np.arange(128, dtype=np.int8)[None], img_as_ubyte, id='int8'),
        pytest.param((STEPS // 2).astype(np.int16), img_as_uint, id='int16'),
        pytest.param(STEPS / np.float32(65535), img_as_uint, id='float32'),
        pytest.param(
            (STEPS / np.float32(65535)).astype(np.float16),
            lambda values: img_as_uint(values.astype(float)),
            id='float16',
        ),
        pytest.param(STEPS / 65535, img_as_uint, id='float64'),
        pytest.param(STEPS.astype(np.uint64), lambda values: values.astype(np.uint16), id='16 bits in uint64'),
        pytest.param(STEPS.astype(np.uint32) * 65537, img_as_uint, id='uint32'),
        pytest.param((STEPS.astype(np.uint32) * 32768).astype(np.int32), img_as_uint, id='int32'),
        pytest.param(STEPS.astype(np.uint32), lambda values: values.astype(np.uint16), id='16 bits in uint32'),
        pytest.param(GREY.astype(np.int32), lambda values: values.astype(np.uint8), id='8 bits in int32'),
    ],
)
@pytest.mark.filterwarnings('ignore:Possible precision loss')
def test_other_numbers_are_scaled_as_scikit_image_scales_them(values, expected, white_is_zero: bool) -> None:
    data = tiff(values, 'miniswhite' if white_is_zero else 'minisblack')
    wanted = expected(values)
    wanted = ~wanted if white_is_zero else wanted
    photo = decode_photo(data, 'x')
    assert photo.pixels.dtype == wanted.dtype
    assert np.abs(photo.pixels[..., 0].astype(int) - wanted).max() <= 1


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize(('dtype', 'kind'), [(np.float32, 'f'), (np.int16, 'h'), (np.uint32, 'I')])
def test_a_declared_range_is_followed(dtype: type, kind: str, order: str) -> None:
    low, high = 100, 1100
    values = np.linspace(low, high, 60).round().astype(dtype).reshape(3, 20)
    tags = [(LOWEST, kind, 1, low, True), (HIGHEST, kind, 1, high, True)]
    photo = decode_photo(tiff(values, extratags=tags, byteorder=order), 'x')
    expected = (values.astype(float) - low) / (high - low) * 65535
    np.testing.assert_allclose(photo.pixels[..., 2], expected, atol=0.51)


@pytest.mark.filterwarnings('error')
def test_what_is_no_number_is_black_where_a_range_is_declared() -> None:
    values = np.array([[0, 2, np.nan, np.inf, -np.inf]], np.float32)
    tags = [(LOWEST, 'f', 1, 0, True), (HIGHEST, 'f', 1, 2, True)]
    photo = decode_photo(tiff(values, extratags=tags), 'x')
    np.testing.assert_array_equal(photo.pixels[0, :, 0], [0, 65535, 0, 65535, 0])


def test_signed_values_on_both_sides_of_0_are_scaled_by_all_there_are() -> None:
    values = (STEPS.astype(int) - 32768).astype(np.int16)
    np.testing.assert_array_equal(decode_photo(tiff(values), 'x').pixels[..., 0], STEPS)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (np.array([[0, 255]], np.float32), r'float, not .*, in 0\.\.255, and only 0\.\.1 is read, .* scale them'),
        (np.array([[0, np.nan]], np.float32), r'float, not .*, in nan\.\.nan'),
        (np.array([[-5, 3000]], np.int16), r'signed integers, not .*, in -5\.\.3000, and what is black'),
        (np.array([[0, 70000]], np.uint32), r'32-bit integers, not .*, in 0\.\.70000, and what is white'),
        (np.array([[0, 2**40]], np.uint64), r'64-bit integers, not .*, in 0\.\..*, and what is white'),
        (np.array([[0, 1j]], np.complex64), 'complex numbers'),
    ],
)
def test_numbers_of_which_none_is_known_to_be_white_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ImageReadError, match=message):
        decode_photo(tiff(values), 'x')


TILES = {'planarconfig': 'separate', 'tile': (16, 16)}


@pytest.mark.parametrize('options', [{'compression': 'lzma'}, TILES], ids=str)
@pytest.mark.parametrize('dtype', [np.uint16, np.float32, np.int16, np.uint32])
def test_more_than_8_bits_of_colours_that_tifffile_alone_reads(dtype: type, options: dict) -> None:
    pixels = COLOUR.astype(np.uint16) * 257
    values = pixels / np.float32(65535) if dtype == np.float32 else pixels // 2 if dtype == np.int16 else pixels
    values = values.astype(dtype)
    turned = values.transpose(2, 0, 1).copy() if 'tile' in options else values
    tags = [(274, 3, 1, 3, True)]
    data = tiff(turned, 'rgb', extratags=tags, resolution=(300, 300), resolutionunit='INCH', **options)
    photo = decode_photo(data, 'x')
    assert np.abs(photo.pixels[::-1, ::-1].astype(int) - pixels).max() <= (3 if dtype == np.int16 else 1)
    assert photo.metadata.dpi == pytest.approx((300, 300))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('compression', [None, 'lzma'])
def test_0_is_white_where_the_file_says_so(dtype: type, compression: str | None) -> None:
    values = GREY.astype(dtype) * (np.iinfo(dtype).max // 255)
    photo = decode_photo(tiff(values, 'miniswhite', compression=compression), 'x')
    np.testing.assert_array_equal(photo.pixels[..., 0], ~values)


COLOURS = ('red', 'blue')
HALF = np.full(GREY.shape, 0.5)


def stored(values: np.ndarray, dtype: type) -> np.ndarray:
    """Values in 0..1 as numbers of a dtype, of which the largest one is white."""
    top = 1 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
    return (values * float(top)).astype(dtype)


@pytest.mark.parametrize(
    ('dtype', 'tile'), [(np.uint8, None), (np.uint8, (16, 16)), (np.int16, None), (np.float16, None)], ids=str
)
@pytest.mark.parametrize('photometric', ['minisblack', 'miniswhite', 'rgb'])
@pytest.mark.parametrize('alpha', ['unassalpha', 'assocalpha'])
def test_bands_apart_and_alpha_come_out_as_they_went_in(photometric: str, dtype: type, tile, alpha: str) -> None:
    """libvips mixes such grey with alpha, and divides by an alpha of 8 bits whatever the numbers are."""
    truth = (COLOUR if photometric == 'rgb' else GREY[..., None]) / 255
    given = truth * 0.5 if alpha == 'assocalpha' else truth
    given = 1 - given if photometric == 'miniswhite' else given
    planes = np.ascontiguousarray(stored(np.dstack([given, HALF]), dtype).transpose(2, 0, 1))
    data = tiff(planes, photometric, planarconfig='separate', extrasamples=[alpha], tile=tile)

    photo = decode_photo(data, 'x')

    top = np.iinfo(photo.pixels.dtype).max
    np.testing.assert_allclose(photo.alpha / top, 0.5, atol=1 / 255)
    np.testing.assert_allclose(photo.pixels / top, np.broadcast_to(truth, photo.pixels.shape), atol=2.1 / 255)


@pytest.mark.parametrize('dtype', [np.uint16, np.float16])
def test_cielab_of_bands_apart(dtype: type) -> None:
    lab = LAB16.astype(np.int32).astype(np.uint16) if dtype == np.uint16 else np.dstack([LIGHT, SHIFTED, -SHIFTED])
    together = decode_photo(tiff(lab.astype(np.uint16 if dtype == np.uint16 else np.float32), 'cielab'), 'x').pixels
    apart = tiff(np.ascontiguousarray(lab.astype(dtype).transpose(2, 0, 1)), 'cielab', planarconfig='separate')
    assert np.abs(decode_photo(apart, 'x').pixels.astype(int) - together).max() <= (2 if dtype == np.uint16 else 66)


@pytest.mark.parametrize('depth', [8, 16])
def test_cmyk_of_tiles_of_planes_is_that_of_strips(depth: int) -> None:
    cmyk = np.dstack([255 - COLOUR, GREY // 3]).astype(f'u{depth // 8}') * (257 if depth == 16 else 1)
    planes = np.ascontiguousarray(cmyk.transpose(2, 0, 1))
    apart = decode_photo(tiff(planes, 'separated', **TILES), 'x').pixels
    assert np.abs(apart.astype(int) - decode_photo(tiff(cmyk, 'separated'), 'x').pixels).max() <= 1


@pytest.mark.parametrize('order', '<>')
def test_a_bigtiff_says_what_a_tiff_says(order: str) -> None:
    tags = [(33723, 7, 9, b'\x1c\x02\x78\0\x04Hall', True), (315, 2, 0, 'Ann', True)]
    options = {'byteorder': order, 'description': 'Hall, 1923', 'metadata': None, 'software': False}
    given = stored(1 - GREY / 255, np.int16)
    small, big = (
        decode_photo(tiff(given, 'miniswhite', extratags=tags, bigtiff=is_big, **options), 'x')
        for is_big in (False, True)
    )
    assert big.metadata == small.metadata
    assert sorted(big.metadata.blobs) == ['exif-data', 'iptc-data']
    np.testing.assert_array_equal(big.pixels, small.pixels)
    np.testing.assert_allclose(big.pixels[..., 0] / 65535, GREY / 255, atol=1e-4)
    raw = tiff(given, bigtiff=True, extratags=[(50706, 1, 4, b'\1\4\0\0', True)], **options)
    with pytest.raises(ImageReadError, match='raw photo'):
        decode_photo(raw, 'x')


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('kind', [1, 7, 2], ids=['bytes', 'undefined', 'text'])
@pytest.mark.parametrize('options', [{}, {'compression': 'lzma'}, {'byteorder': '>', 'bigtiff': True}], ids=str)
@pytest.mark.parametrize('dtype', [np.uint8, np.float64])
def test_xmp_comes_along_whoever_decodes(dtype: type, options: dict, kind: int) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    values = (GREY / 255).astype(dtype) if dtype == np.float64 else GREY
    data = tiff(values, extratags=[(700, kind, len(packet), packet, True)], **options)

    assert decode_photo(data, 'x').metadata.blobs['xmp-data'].rstrip(b'\0') == packet
    assert xmp_of(data, 'x').rstrip(b'\0') == packet


def test_a_damaged_tag_that_nobody_asks_for_costs_no_exif() -> None:
    data = bytearray(tiff(GREY, metadata=None, software='Scan', extratags=[(269, 2, 0, 'a.tif', True)]))
    at = data.index(struct.pack('<HHL', 278, 4, 1))  # rows of a strip
    struct.pack_into('<L', data, at + 4, 2)
    assert b'Scan' in tiff_metadata(bytes(data)).exif
    assert b'a.tif' in tiff_metadata(bytes(data)).exif


def test_a_palette_with_alpha_that_only_pillow_reads() -> None:
    image = Image.fromarray(GREY).convert('P')
    image.putalpha(128)
    photo = decode_photo(by_pillow(image, compression='zstd'), 'x')
    np.testing.assert_array_equal(photo.pixels, np.asarray(image.convert('RGB')))


@pytest.mark.parametrize('mode', ['La', 'PA', 'RGBa'])
def test_modes_of_pillow_with_alpha_keep_it(mode: str) -> None:
    image = Image.fromarray(GREY).convert({'La': 'L', 'PA': 'P', 'RGBa': 'RGB'}[mode])
    image.putalpha(128)
    photo = as_photo(image if mode == 'PA' else image.convert(mode))
    assert (photo.alpha == 128).all()
    assert np.abs(photo.pixels.astype(int) - GREY[..., None]).max() <= (6 if mode == 'PA' else 1)  # it has 216 colours


def test_a_profile_is_followed_whoever_reads() -> None:
    profile = bytes(libvips().Image.profile_load('p3'))
    pixels = COLOUR.astype(np.uint16) * 257
    photos = [decode_photo(tiff(pixels, 'rgb', iccprofile=profile, compression=by), 'x') for by in (None, 'lzma')]
    np.testing.assert_array_equal(photos[0].pixels, photos[1].pixels)
    assert (photos[0].pixels != pixels).any()
    assert photos[1].metadata.profile == photos[0].metadata.profile


def test_without_tifffile_the_way_out_is_named(monkeypatch) -> None:
    data = tiff(GREY / 255)
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    with pytest.raises(
        ImageReadError, match=r'its 64 bits are .* without tifffile: pip install tifffile, or convert it'
    ):
        decode_photo(data, 'x')


def test_three_bands_of_one_bit_are_refused_in_words() -> None:
    with pytest.raises(ImageReadError, match='its values have 1 bits in 3 bands, not 8 or 16; convert it'):
        decode_photo(tiff(COLOUR > 99, 'rgb'), 'x')


def test_12_bits_become_16() -> None:
    values = np.tile(np.arange(0, 4096, 13), (2, 1))
    expected = values * (65535 / 4095)
    np.testing.assert_allclose(decode_photo(packed(values, 12), 'x').pixels[..., 0], expected, atol=0.5)
    np.testing.assert_allclose(load_rgb(io.BytesIO(packed(values, 12)))[..., 0], expected / 257, atol=1)


@pytest.mark.parametrize('bits', [10, 14, 24])
def test_odd_numbers_of_bits_are_refused_in_words(bits: int) -> None:
    with pytest.raises(ImageReadError, match=f'its values have {bits} bits, not 8 or 16; convert it'):
        decode_photo(packed(np.arange(16).reshape(2, 8), bits), 'x')


def test_a_preview_that_only_pillow_reads_is_passed_over() -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        file.write(COLOUR[::4, ::4], photometric='rgb', compression='lzma', metadata=None)
        file.write(COLOUR, photometric='rgb', metadata=None)
    np.testing.assert_array_equal(decode_photo(out.getvalue(), 'x').pixels, COLOUR)


@pytest.mark.parametrize(
    'tag',
    [(274, 's', 0, 'up'), (274, 'H', 2, (3, 3)), (274, 'd', 1, 2.5), (34675, 's', 0, 'sRGB'), (34675, 'H', 2, (1, 2))],
    ids=['text', 'two-numbers', 'fraction', 'profile-of-text', 'profile-of-numbers'],
)
def test_tags_of_odd_types_count_as_none(tag, caplog):
    values = COLOUR / 255.0

    photo = decode_photo(tiff(values, 'rgb', metadata=None, extratags=[(*tag, True)]), 'x')

    np.testing.assert_array_equal(photo.pixels, img_as_uint(values))
    assert photo.metadata.profile is None
    assert caplog.messages == []


@pytest.mark.parametrize(
    ('sizes', 'expected'), [((1, 1, 1), [0]), ((1, 4, 4), [0, 1])], ids=['pages', 'a preview first']
)
def test_only_the_picture_is_decoded_among_many_pages(monkeypatch, sizes, expected) -> None:
    out, decoded = io.BytesIO(), []
    with tifffile.TiffWriter(out) as file:
        for size in sizes:
            file.write(np.tile(GREY, (size, size)), photometric='minisblack', compression='lzma', metadata=None)
    by_pillow = codecs._by_pillow
    monkeypatch.setattr(codecs, '_by_pillow', lambda *args: decoded.append(args[2]) or by_pillow(*args))

    photo = decode_photo(out.getvalue(), 'x')

    assert decoded == expected
    assert photo.size == tuple(side * sizes[expected[-1]] for side in GREY.shape)


def test_a_larger_page_that_is_damaged_is_not_the_picture() -> None:
    whole, out = tiff(GREY, metadata=None), io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        file.write(GREY, photometric='minisblack', metadata=None)
        file.write(np.tile(GREY, (4, 4)), photometric='minisblack', tile=(16, 16), metadata=None)
    damaged = bytearray(out.getvalue())
    at = damaged.rindex(struct.pack('<HH', 324, 4)) + 8  # where its tiles begin
    place = struct.unpack_from('<L', damaged, at)[0]
    struct.pack_into('<L', damaged, place, 2**31)
    assert decode_photo(bytes(damaged), 'x').size == decode_photo(whole, 'x').size


@pytest.mark.parametrize('part', [0.5, 0.95])
@pytest.mark.parametrize('options', [{}, {'planarconfig': 'separate'}, {'compression': 'deflate'}], ids=str)
def test_tiles_that_lack_are_not_made_black(part: float, options: dict) -> None:
    pixels = PLANES if 'planarconfig' in options else COLOUR
    data = tiff(pixels, 'rgb', tile=(16, 16), **options)
    decode_photo(data, 'x')
    with pytest.raises(
        ImageReadError, match=r'it is cut short: its tiles end at byte \d+, but it has|damaged or cut short'
    ):
        decode_photo(data[: int(part * len(data))], 'x')


def test_any_page_can_be_asked_for() -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        for number, compression in enumerate([None, 'lzma', None]):
            file.write(COLOUR // (number + 1), photometric='rgb', compression=compression, metadata=None)
    assert pages_in(out.getvalue()) == 3
    for number in range(3):
        np.testing.assert_array_equal(decode_photo(out.getvalue(), 'x', page=number).pixels, COLOUR // (number + 1))
    with pytest.raises(ImageReadError, match='it has no page 4, but 3'):
        decode_photo(out.getvalue(), 'x', page=3)


@pytest.mark.parametrize('kind', ['GIF', 'WEBP', 'PNG', 'AVIF'])
def test_frames_are_pages(kind: str) -> None:
    out, frames = io.BytesIO(), [Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue')]
    options = {'lossless': True} if kind == 'WEBP' else {}
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], **options)
    assert pages_in(out.getvalue()) == 2
    assert decode_photo(out.getvalue(), 'x', page=1).pixels[4, 4].argmax() == 2


def several(*sizes: tuple[int, int]) -> bytes:
    """A JPEG of several pictures behind one another (MPO), red, then blue."""
    out, (first, *others) = (
        io.BytesIO(),
        [Image.new('RGB', size, name) for size, name in zip(sizes, COLOURS, strict=False)],
    )
    first.save(out, 'MPO', save_all=True, append_images=others)
    return out.getvalue()


def test_pictures_of_an_mpo_are_pages(caplog) -> None:
    data = several((40, 30), (40, 30))
    assert pages_in(data) == 2
    assert decode_photo(data, 'x.jpg', page=1).pixels[4, 4].argmax() == 2
    assert not caplog.text
    assert decode_photo(data, 'x.jpg').pixels[4, 4].argmax() == 0
    assert 'x.jpg has 2 pages; the first is used' in caplog.text


def test_what_telephones_put_behind_a_photo_is_no_page(caplog) -> None:
    """Previews, and maps of brightness, which are smaller."""
    data = several((40, 30), (20, 15))
    assert pages_in(data) == 1
    assert decode_photo(data, 'x.jpg').size == (30, 40)
    assert not caplog.text


def test_an_animated_png_is_said_to_be_one(caplog) -> None:
    out = io.BytesIO()
    Image.new('L', (8, 8)).save(out, 'PNG', save_all=True, append_images=[Image.new('L', (8, 8), 200)])
    decode_photo(out.getvalue(), 'x.png')
    assert 'x.png has 2 pages; the first is used' in caplog.text


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')
@pytest.mark.parametrize('data', [b'II*\0', b'II*\0\xff\xff\0\0', b'II*\0\x08\0\0\0\xff\xff\x01', b'MM\0+' + bytes(12)])
def test_a_damaged_directory_has_no_layout(data: bytes) -> None:
    assert layouts_of(data) == []
    assert pages_in(data) == 1


def test_a_width_that_is_a_text_takes_no_memory() -> None:
    data = bytearray(tiff(GREY, metadata=None))
    at = data.index(struct.pack('<H', 256), struct.unpack_from('<L', data, 4)[0])
    struct.pack_into('<HHL4s', data, at, 256, 2, 2, b'48\0\0')
    struct.pack_into('<HHLL', data, at + 12, 257, 4, 1, 2**31)
    assert [layout.pixels for layout in layouts_of(bytes(data))] in ([], [48 * 2**31])
    with pytest.raises(ImageReadError):
        decode_photo(bytes(data), 'x')


def test_directories_in_a_circle_end() -> None:
    data = bytearray(tiff(COLOUR, 'rgb', metadata=None))
    at = int.from_bytes(data[4:8], 'little')
    after = at + 2 + 12 * int.from_bytes(data[at : at + 2], 'little')
    data[after : after + 4] = data[4:8]
    assert len(layouts_of(bytes(data))) == MOST_PAGES
    np.testing.assert_array_equal(decode_photo(bytes(data), 'x').pixels, COLOUR)
