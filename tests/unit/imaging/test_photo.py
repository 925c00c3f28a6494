"""Reading and writing photographs; the truth comes from Pillow, OpenCV, tifffile and scikit-image as other readers."""

import io
import logging
import struct
import sys
import zlib
from pathlib import Path, PurePath

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage.color import rgb2lab

from insta_colorization.imaging.decoders import libvips
from insta_colorization.imaging.photo import (
    ENDS,
    ImageReadError,
    ImageWriteError,
    Metadata,
    Photo,
    decode_photo,
    encode_photo,
    is_photo_name,
    is_whole,
    photos_below,
    read_photo,
    write_photo,
)

pyvips = pytest.importorskip('pyvips', reason='pip install "pyvips[binary]"')

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="Harbour"/></x:xmpmeta>'
EXIF_DIRECTORY, GPS_DIRECTORY = 0x8769, 0x8825
MAKE, ORIENTATION, ARTIST, TAKEN, EXPOSURE = 0x010F, 0x0112, 0x013B, 0x9003, 0x829A


def blocks(height: int = 40, width: int = 56, dtype: type = np.uint8) -> np.ndarray:
    """An RGB picture of flat 8x8 squares, which JPEG keeps well."""
    values = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, (height // 8, width // 8, 3))
    return np.kron(values, np.ones((8, 8, 1))).astype(dtype)


@pytest.mark.parametrize(
    ('name', 'is_photo'),
    [
        ('a.jpg', True),
        ('set/A.TIFF', True),
        ('../a.png', True),
        ('set.old/a.b.webp', True),
        ('a.txt', False),
        ('jpg', False),
        ('._a.jpg', False),
        ('.cache/a.jpg', False),
        ('.jpg', False),
    ],
)
def test_names_of_photos(name, is_photo):
    assert is_photo_name(PurePath(name)) == is_photo


@pytest.mark.parametrize(('recursive', 'found'), [(False, {'a.jpg'}), (True, {'a.jpg', 'deep/b.png'})])
def test_photos_below_a_hidden_folder_are_found_from_there(tmp_path, recursive, found):
    folder = tmp_path / '.hidden'
    (folder / 'deep').mkdir(parents=True)
    (folder / 'folder.jpg').mkdir()
    for name in ('a.jpg', '._a.jpg', 'deep/b.png'):
        (folder / name).touch()

    assert {path.relative_to(folder).as_posix() for path in photos_below(folder, recursive)} == found


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif.update({MAKE: 'Zeiss', ORIENTATION: orientation, ARTIST: 'A. Photographer'})
    exif.get_ifd(EXIF_DIRECTORY).update({TAKEN: '1936:05:04 10:20:30', EXPOSURE: (1, 250)})
    exif.get_ifd(GPS_DIRECTORY)[1] = 'N'
    return exif.tobytes()


def profile(name: str) -> bytes:
    return bytes(pyvips.Image.profile_load(name))


def grey_profile(curve: float | bytes) -> bytes:
    """A minimal ICC profile of grey pixels with a curve, or the power of one (ICC.1:2001-04)."""
    d50 = struct.pack('>3i', 63190, 65536, 54061)
    text = b'grey\0'
    tags = {
        b'desc': b'desc' + bytes(4) + struct.pack('>I', len(text)) + text + bytes(78),
        b'cprt': b'text' + bytes(4) + text,
        b'wtpt': b'XYZ ' + bytes(4) + d50,
        b'kTRC': curve if isinstance(curve, bytes) else struct.pack('>4s4xIH', b'curv', 1, round(curve * 256)),
    }
    table, body = struct.pack('>I', len(tags)), b''
    for name, data in tags.items():
        table += name + struct.pack('>II', 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data.ljust(-(-len(data) // 4) * 4, b'\0')
    header = struct.pack('>I4x4s4s4s4s12x4s28x', 0, bytes([2, 0x20, 0, 0]), b'mntr', b'GRAY', b'XYZ ', b'acsp')
    header = (header + d50).ljust(128, b'\0')
    whole = header + table + body
    return struct.pack('>I', len(whole)) + whole[4:]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'BMP'])
def test_8bit_pixels_equal_pillow(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f'photo.{kind.lower()}'
    path.write_bytes(encoded(Image.fromarray(blocks()), kind))
    photo = read_photo(path)
    assert photo.pixels.dtype == np.uint8
    assert photo.path == path
    np.testing.assert_array_equal(photo.pixels, np.asarray(Image.open(path)))


def test_webp_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'photo.webp'
    path.write_bytes(encoded(Image.fromarray(blocks()), 'WEBP', lossless=True))
    np.testing.assert_array_equal(read_photo(path).pixels, blocks())


MODES = {
    'one_bit': lambda image: image.convert('1'),
    'grey': lambda image: image.convert('L'),
    'palette': lambda image: image.quantize(16),
    'rgba': lambda image: image.convert('RGBA'),
    'grey_with_alpha': lambda image: image.convert('LA'),
}


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('kind', ['PNG', 'TIFF'])
def test_every_mode_becomes_rgb(kind: str, mode: str) -> None:
    image = MODES[mode](Image.fromarray(blocks()))
    if 'A' in image.getbands():
        image.putalpha(Image.fromarray(blocks()[..., 0]))
    photo = decode_photo(encoded(image, kind), 'x')
    np.testing.assert_array_equal(photo.pixels, np.asarray(image.convert('RGB')))
    if 'A' in image.getbands():
        np.testing.assert_array_equal(photo.alpha, blocks()[..., 0])
    else:
        assert photo.alpha is None
    assert photo.is_colour == (mode in ('palette', 'rgba'))


@pytest.mark.parametrize('kind', ['JPEG', 'TIFF'])
def test_cmyk_becomes_rgb(kind: str) -> None:
    ink = np.zeros((16, 48, 4), np.uint8)
    ink[:, 16:32, 3] = 255
    ink[:, 32:, 0] = 255
    photo = decode_photo(encoded(Image.fromarray(ink, 'CMYK'), kind), 'x')
    paper, black, cyan = photo.pixels[8, 8], photo.pixels[8, 24], photo.pixels[8, 40]
    assert photo.pixels.shape == (16, 48, 3)
    assert photo.alpha is None
    assert paper.min() > 240
    assert black.max() < 70
    assert cyan[0] < cyan[1]
    assert cyan[0] < cyan[2]
    assert photo.is_colour


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_16bit_survives_reading_and_writing(channels: int, suffix: str, tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    bgr = values[..., [2, 1, 0, 3][:channels]] if channels > 1 else values[..., 0]
    source, target = tmp_path / f'in{suffix}', tmp_path / f'out{suffix}'
    assert cv2.imwrite(str(source), bgr)
    photo = read_photo(source)
    assert photo.pixels.dtype == np.uint16
    expected = np.repeat(values, 3, axis=2) if channels == 1 else values[..., :3]
    np.testing.assert_array_equal(photo.pixels, expected)
    write_photo(photo, target)
    again = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again[..., 2::-1], expected)
    if channels == 4:
        np.testing.assert_array_equal(again[..., 3], values[..., 3])
    if suffix == '.tif':
        np.testing.assert_array_equal(tifffile.imread(target)[..., :3], expected)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF'])
def test_exif_orientation_is_applied_and_reset(kind: str, orientation: int, tmp_path: Path) -> None:
    from PIL import ImageOps

    data = encoded(Image.fromarray(blocks()), kind, exif=exif_block(orientation))
    photo = decode_photo(data, 'x')
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(photo.pixels, np.asarray(upright))
    target = tmp_path / f'out.{kind.lower()}'
    write_photo(photo, target)
    with Image.open(target) as written:
        assert written.size == upright.size
        assert written.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize('deep', [False, True], ids=['8bit', '16bit'])
@pytest.mark.parametrize('target', ['.jpg', '.png', '.tif', '.webp'])
@pytest.mark.parametrize('source', ['JPEG', 'PNG', 'TIFF'])
def test_metadata_round_trip(source: str, target: str, deep: bool, tmp_path: Path) -> None:
    options = {'xmp': XMP} if source == 'JPEG' else {}
    data = encoded(
        Image.fromarray(blocks()), source, exif=exif_block(6), dpi=(300, 600), icc_profile=profile('p3'), **options
    )
    photo = decode_photo(data, 'x')
    if deep:
        photo = photo.with_pixels(photo.pixels.astype(np.uint16) * 257)
    path = tmp_path / f'out{target}'
    write_photo(photo, path)
    with Image.open(path) as written:
        exif = written.getexif()
        assert written.info['icc_profile'] == profile('p3')
        dpi = (exif[282], exif[283]) if target in ('.jpg', '.webp') else written.info['dpi']
        assert dpi == pytest.approx((300, 600), abs=0.02)
        if source == 'JPEG':
            xmp = written.info.get('xmp') or written.info['XML:com.adobe.xmp'].encode()
            assert xmp == XMP.replace(b'"6"', b'"1"')
        taken, place = exif.get_ifd(EXIF_DIRECTORY), exif.get_ifd(GPS_DIRECTORY)
    assert (exif[MAKE], exif[ARTIST]) == ('Zeiss', 'A. Photographer')
    assert (taken[TAKEN], tuple(taken[EXPOSURE]), place[1]) == ('1936:05:04 10:20:30', (1, 250), 'N')
    if deep and target in ('.png', '.tif'):
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).dtype == np.uint16


@pytest.mark.parametrize('exif', [False, True])
@pytest.mark.parametrize('suffix', ['.tif', '.png', '.jpg', '.webp'])
def test_what_is_cut_anywhere_is_not_whole(suffix: str, exif: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    blobs = {'xmp-data': XMP, **({'exif-data': exif_block()} if exif else {})}
    data = encode_photo(Photo(pixels, metadata=Metadata(blobs=blobs)), suffix)

    def whole(size: int) -> bool:
        return is_whole(size, data[: min(size, ENDS)], data[:size][-ENDS:])

    assert [size for size in range(16, len(data) + 1) if whole(size)] == [len(data)]


def test_tiff_with_added_exif_is_whole(tmp_path: Path) -> None:
    photo = decode_photo(encoded(Image.fromarray(blocks()), 'TIFF', exif=exif_block()), 'x')
    write_photo(photo, tmp_path / 'out.tif')
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'out.tif'), blocks())
    with tifffile.TiffFile(tmp_path / 'out.tif') as file:
        assert len(file.pages) == 1
        assert file.pages[0].offset % 2 == 0  # as the format demands
        assert file.pages[0].tags['ExifTag'].value['DateTimeOriginal'] == '1936:05:04 10:20:30'
    np.testing.assert_array_equal(read_photo(tmp_path / 'out.tif').pixels, blocks())


def test_exif_thumbnail_is_not_kept(tmp_path: Path) -> None:
    thumbnail = encoded(Image.new('L', (16, 16), 90), 'JPEG')
    exif = Image.Exif()
    exif[MAKE] = 'Zeiss'
    block = bytearray(exif.tobytes())
    # A second directory behind the first: offset and length of a JPEG.
    second = len(block) - 6
    (count,) = struct.unpack_from('>H', block, 14)
    struct.pack_into('>L', block, 14 + 2 + 12 * count, second)
    entries = [(0x0201, second + 2 + 24 + 4), (0x0202, len(thumbnail))]
    block += struct.pack('>H', 2) + b''.join(struct.pack('>HHLL', tag, 4, 1, value) for tag, value in entries)
    block += bytes(4) + thumbnail
    data = encoded(Image.fromarray(blocks()), 'JPEG', exif=bytes(block))
    assert thumbnail in data
    write_photo(decode_photo(data, 'x'), tmp_path / 'out.jpg')
    assert (tmp_path / 'out.jpg').read_bytes().count(b'\xff\xd8\xff') == 1
    assert Image.open(tmp_path / 'out.jpg').getexif()[MAKE] == 'Zeiss'


def test_other_rgb_profile_is_converted_and_back(tmp_path: Path) -> None:
    pixels = np.linspace([60, 70, 80], [180, 170, 190], 24 * 24).reshape(24, 24, 3).astype(np.uint8)
    image = Image.fromarray(pixels)
    data = encoded(image, 'PNG', icc_profile=profile('p3'))
    photo = decode_photo(data, 'x')
    expected = ImageCms.profileToProfile(image, io.BytesIO(profile('p3')), ImageCms.createProfile('sRGB'))
    assert np.abs(photo.pixels.astype(int) - np.asarray(expected)).max() <= 1
    assert not np.array_equal(photo.pixels, pixels)
    write_photo(photo, tmp_path / 'out.png')
    with Image.open(tmp_path / 'out.png') as written:
        assert written.info['icc_profile'] == profile('p3')
        assert np.abs(np.asarray(written).astype(int) - pixels).max() <= 1


def test_other_rgb_profile_at_16bit_comes_back(tmp_path: Path) -> None:
    pixels = np.linspace([15000, 18000, 20000], [46000, 43000, 48000], 24 * 24).reshape(24, 24, 3).astype(np.uint16)
    tifffile.imwrite(tmp_path / 'in.tif', pixels, photometric='rgb', iccprofile=profile('p3'))
    photo = read_photo(tmp_path / 'in.tif')
    assert photo.pixels.dtype == np.uint16
    write_photo(photo, tmp_path / 'out.tif')
    assert np.abs(tifffile.imread(tmp_path / 'out.tif').astype(int) - pixels).max() <= 16


def test_srgb_profile_leaves_pixels_alone(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    photo = decode_photo(encoded(Image.fromarray(blocks()), 'PNG', icc_profile=srgb), 'x')
    np.testing.assert_array_equal(photo.pixels, blocks())
    write_photo(photo, tmp_path / 'out.png')
    with Image.open(tmp_path / 'out.png') as written:
        assert written.info['icc_profile'] == srgb
        np.testing.assert_array_equal(np.asarray(written), blocks())


@pytest.mark.parametrize('deep', [False, True], ids=['8bit', '16bit'])
def test_grey_profile_is_converted_to_srgb(deep: bool, tmp_path: Path) -> None:
    top = 65535 if deep else 255
    grey = np.linspace(0.05, 1, 30) * top
    grey = np.tile(grey.round(), (4, 1)).astype(np.uint16 if deep else np.uint8)
    tifffile.imwrite(tmp_path / 'in.tif', grey, photometric='minisblack', iccprofile=grey_profile(1.75))
    photo = read_photo(tmp_path / 'in.tif')
    lightness = rgb2lab(photo.pixels / top)[..., 0]
    expected = 116 * np.cbrt((grey / top) ** 1.75) - 16  # all above the linear part of L
    assert np.abs(lightness - expected)[expected > 8].max() < (0.1 if deep else 0.3)
    assert not photo.is_colour
    write_photo(photo, tmp_path / 'out.tif')
    with tifffile.TiffFile(tmp_path / 'out.tif') as file:
        assert file.pages[0].tags['InterColorProfile'].value != grey_profile(1.75)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'out.tif'), photo.pixels)


def test_broken_profile_is_dropped(tmp_path: Path) -> None:
    photo = decode_photo(encoded(Image.fromarray(blocks()), 'PNG', icc_profile=b'no profile ' * 20), 'x')
    np.testing.assert_array_equal(photo.pixels, blocks())
    assert photo.metadata.profile is None


GREY_CURVES = {
    'linear': struct.pack('>4s4xL', b'curv', 0),
    'gamma 1.0': struct.pack('>4s4xLH', b'curv', 1, 256),
    'gamma 1.8': struct.pack('>4s4xLH', b'curv', 1, 461),
    'points': struct.pack('>4s4xL3H', b'curv', 3, 0, 20000, 65535),
    'power': struct.pack('>4s4xH2xl', b'para', 0, round(2.4 * 65536)),
    'power of a line': struct.pack('>4s4xH2x3l', b'para', 1, 2 * 65536, round(1.1 * 65536), round(-0.1 * 65536)),
    'with an offset': struct.pack('>4s4xH2x4l', b'para', 2, 2 * 65536, 62259, 0, 3277),
    'sRGB': struct.pack('>4s4xH2x5l', b'para', 3, 157286, 62119, 3417, 5072, 2651),
    'with two': struct.pack('>4s4xH2x7l', b'para', 4, 157286, 62119, 3417, 5072, 2651, 0, 0),
}


def light_of(name: str, x: np.ndarray) -> np.ndarray:
    """Linear light by the formulas of ICC.1:2010, tables 65 and 68, one value after the other."""

    def one(x: float) -> float:
        match name:
            case 'linear' | 'gamma 1.0':
                return x
            case 'gamma 1.8':
                return x ** (461 / 256)
            case 'points':
                return x * 40000 / 65535 if x < 0.5 else (20000 + (x - 0.5) * 2 * 45535) / 65535
            case 'power':
                return x**2.4
            case 'power of a line':
                return (1.1 * x - 0.1) ** 2 if x >= 0.1 / 1.1 else 0
            case 'with an offset':
                return (0.95 * x) ** 2 + 0.05
        return x / 12.92 if x < 0.04045 else ((x + 0.055) / 1.055) ** 2.4

    return np.array([one(value) for value in x.tolist()])


@pytest.mark.parametrize('deep', [False, True], ids=['8bit', '16bit'])
@pytest.mark.parametrize('curve', GREY_CURVES)
def test_curves_of_grey_are_followed_into_the_shadows(curve: str, deep: bool, tmp_path: Path) -> None:
    top = 65535 if deep else 255
    values = np.arange(0, top + 1, 16 if deep else 1).astype(np.uint16 if deep else np.uint8)[None]
    tifffile.imwrite(tmp_path / 'in.tif', values, photometric='minisblack', iccprofile=grey_profile(GREY_CURVES[curve]))

    pixels = read_photo(tmp_path / 'in.tif').pixels

    light = light_of(curve, values[0] / top)
    encoded_light = np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    assert np.abs(pixels[0, :, 0] / top - encoded_light).max() <= (0.52 if not deep else 3) / top
    if deep:
        expected = np.where(light > 216 / 24389, 116 * np.cbrt(light) - 16, light * 24389 / 27)
        assert np.abs(rgb2lab(pixels / top)[0, :, 0] - expected).max() < 0.05


@pytest.mark.parametrize('tag', [b'', b'curv', b'text' + bytes(12), struct.pack('>4s4xL', b'curv', 9)], ids=repr)
def test_a_damaged_curve_of_grey_is_a_photo_all_the_same(tag: bytes) -> None:
    data = encoded(Image.fromarray(blocks()[..., 0]), 'PNG', icc_profile=grey_profile(tag))
    assert decode_photo(data, 'x').size == (40, 56)


@pytest.mark.parametrize('target', ['.jpg', '.png', '.tif', '.webp'])
def test_a_profile_longer_than_it_says_is_cut(target: str, tmp_path: Path) -> None:
    """PNG takes no other one."""
    data = encoded(Image.fromarray(blocks()), 'JPEG', icc_profile=profile('p3') + bytes(100))
    write_photo(decode_photo(data, 'x'), tmp_path / f'out{target}')
    assert Image.open(tmp_path / f'out{target}').info['icc_profile'] == profile('p3')


def test_a_profile_that_cannot_be_written_is_left_out_and_said(tmp_path: Path, caplog) -> None:
    photo = Photo(blocks(), metadata=Metadata(profile=profile('p3') + bytes(100)))
    write_photo(photo, tmp_path / 'out.png')
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'out.png')), blocks())
    assert 'the profile is left out' in caplog.text


@pytest.mark.parametrize('target', ['.tif', '.jpg'])
@pytest.mark.parametrize('source', ['TIFF', 'TIFF of integers', 'JPEG'])
def test_iptc_is_whole_in_the_wrapper_of_its_format(source: str, target: str, tmp_path: Path) -> None:
    iptc = b'\x1c\x02\x05\x00\x0cStreet, 1923' + b'\x1c\x02\x50\x00\x05Zeiss'
    iptc += bytes(-len(iptc) % 4)
    if source == 'JPEG':
        block = struct.pack('>4sHHL', b'8BIM', 0x0404, 0, len(iptc)) + iptc
        other = struct.pack('>4sHHL', b'8BIM', 0x03ED, 0, 2) + b'ab'
        segment = b'Photoshop 3.0\0' + other + block
        data = encoded(Image.fromarray(blocks()), 'JPEG')
        data = data[:2] + b'\xff\xed' + struct.pack('>H', len(segment) + 2) + segment + data[2:]
    else:
        kind, count = (4, len(iptc) // 4) if source.endswith('integers') else (7, len(iptc))
        tifffile.imwrite(tmp_path / 'in.tif', blocks(), extratags=[(33723, kind, count, iptc, True)])
        data = (tmp_path / 'in.tif').read_bytes()

    write_photo(decode_photo(data, 'x'), tmp_path / f'out{target}')

    with Image.open(tmp_path / f'out{target}') as written:
        found = written.info['photoshop'][0x0404] if target == '.jpg' else written.tag_v2[33723]
    assert found == iptc


@pytest.mark.parametrize('source', ['JPEG', 'TIFF', 'PNG'])
@pytest.mark.parametrize('target', ['.tif', '.jpg', '.png'])
def test_text_that_is_not_ascii_keeps_its_bytes(source: str, target: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = 'Strasze 1923'
    data = encoded(Image.fromarray(blocks()), source, exif=exif).replace(b'Strasze 1923', 'Straße 1923'.encode())
    if source == 'PNG':  # its checksum
        at = data.index(b'eXIf')
        (length,) = struct.unpack('>L', data[at - 4 : at])
        data = (
            data[: at + 4 + length]
            + struct.pack('>L', zlib.crc32(data[at : at + 4 + length]))
            + data[at + 8 + length :]
        )
    write_photo(decode_photo(data, 'x'), tmp_path / f'out{target}')
    assert 'Straße 1923'.encode() in (tmp_path / f'out{target}').read_bytes()


def with_unitless_resolution(kind: str, across: int, down: int) -> bytes:
    image = Image.fromarray(blocks())
    if kind == 'TIFF':
        return encoded(image, kind, x_resolution=across, y_resolution=down, resolution_unit=1)
    if kind == 'JPEG':
        data = encoded(image, kind)
        return data[:13] + struct.pack('>BHH', 0, across, down) + data[18:]
    data = encoded(image, kind)
    chunk = b'pHYs' + struct.pack('>LLB', across, down, 0)
    return data[:33] + struct.pack('>L', 9) + chunk + struct.pack('>L', zlib.crc32(chunk)) + data[33:]


@pytest.mark.parametrize(('across', 'down', 'expected'), [(300, 300, (72, 72)), (2, 1, (144, 72)), (0, 0, (72, 72))])
@pytest.mark.parametrize('kind', ['TIFF', 'JPEG', 'PNG'])
def test_of_a_resolution_without_a_unit_only_the_ratio_is_kept(kind: str, across: int, down: int, expected) -> None:
    photo = decode_photo(with_unitless_resolution(kind, across, down), 'x')
    assert photo.metadata.dpi == pytest.approx(expected)


def test_a_resolution_that_nothing_has_is_none() -> None:
    data = encoded(Image.fromarray(blocks()), 'TIFF', x_resolution=1e9, y_resolution=1e9, resolution_unit=2)
    assert decode_photo(data, 'x').metadata.dpi == (72, 72)


@pytest.mark.parametrize('order', ['preview first', 'picture first', 'sub-image'])
def test_the_picture_is_taken_and_not_its_preview(order: str, tmp_path: Path, caplog) -> None:
    preview = blocks(8, 16)
    with tifffile.TiffWriter(tmp_path / 'x.tif') as file:
        if order == 'sub-image':
            file.write(preview, photometric='rgb', subifds=1, subfiletype=1)
            file.write(blocks(), photometric='rgb')
        else:
            for pixels in [preview, blocks()][:: 1 if order == 'preview first' else -1]:
                file.write(pixels, photometric='rgb', metadata=None)
    np.testing.assert_array_equal(read_photo(tmp_path / 'x.tif').pixels, blocks())
    assert ('begins with a preview' in caplog.text) == (order != 'picture first')


def test_of_pages_of_about_one_size_the_first_is_used(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / 'x.tif') as file:
        for pixels in (blocks(), blocks(48, 64)):
            file.write(pixels, photometric='rgb', metadata=None)
    assert read_photo(tmp_path / 'x.tif').size == (40, 56)


def test_a_raw_photo_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / 'x.dng', blocks(), photometric='rgb', extratags=[(50706, 1, 4, (1, 4, 0, 0), True)])
    with pytest.raises(ImageReadError, match=r'it is a raw photo \(DNG\), which other programs develop'):
        read_photo(tmp_path / 'x.dng')


@pytest.mark.parametrize('place', ['alone', 'second page', 'sub-image'])
def test_what_a_sensor_says_is_no_photo(place: str, tmp_path: Path) -> None:
    """As in NEF and ARW, whose first page is a preview; a CR2 says so behind its header."""
    sensor, preview = np.full((80, 112), 999, np.uint16), blocks()
    with tifffile.TiffWriter(tmp_path / 'x.nef') as file:
        if place != 'alone':
            file.write(preview, photometric='rgb', subifds=int(place == 'sub-image'), metadata=None)
        file.write(sensor, photometric='cfa', extratags=[(33422, 1, 4, bytes((0, 1, 1, 2)), True)], metadata=None)
    with pytest.raises(ImageReadError, match='it is a raw photo, which other programs develop'):
        read_photo(tmp_path / 'x.nef')


def test_a_cr2_is_refused() -> None:
    plain = encoded(Image.fromarray(blocks()), 'TIFF')
    moved = plain[:4] + struct.pack('<L', len(plain)) + b'CR\2\0' + plain[12:]
    at = struct.unpack_from('<L', plain, 4)[0]
    directory = plain[at : at + 2 + 12 * struct.unpack_from('<H', plain, at)[0] + 4]
    with pytest.raises(ImageReadError, match='it is a raw photo, which other programs develop'):
        decode_photo(moved + directory, 'x')


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF', 'PPM'])
def test_of_no_resolution_72_dpi_are_written_which_exif_calls_unknown(kind: str) -> None:
    given = encoded(Image.fromarray(blocks()), kind)
    assert decode_photo(given, 'x').metadata.dpi == pytest.approx((72, 72), abs=0.05)


def test_damaged_exif_costs_no_photo(monkeypatch, caplog) -> None:
    data = encoded(Image.fromarray(blocks()), 'TIFF', exif=exif_block())
    monkeypatch.setattr(Image.Exif, 'tobytes', lambda self, offset=8: b''.nothing)  # as Pillow did for damaged tags
    np.testing.assert_array_equal(decode_photo(data, 'x').pixels, blocks())
    assert 'EXIF data is left out' in caplog.text


def test_first_page_of_several_is_used_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = [Image.fromarray(blocks()), Image.new('RGB', (5, 5))]
    data = encoded(pages[0], 'TIFF', save_all=True, append_images=pages[1:])
    with caplog.at_level(logging.WARNING):
        photo = decode_photo(data, 'scan.tif')
    np.testing.assert_array_equal(photo.pixels, blocks())
    assert 'scan.tif has 2 pages' in caplog.text


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP', 'BMP'])
def test_truncated_file_is_refused(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    path = tmp_path / f'cut.{kind.lower()}'
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageReadError, match=rf'^cannot read .*cut\.{kind.lower()}: \S') as caught:
        read_photo(path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        pytest.param(b'', 'the file is empty', id='zero_byte'),
        pytest.param(b'Dear Sir or Madam,\n' * 20, 'not an image in a known format', id='text'),
        pytest.param(None, 'No such file', id='missing'),
    ],
)
def test_file_that_is_no_photo_is_refused(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / 'letter.jpg'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageReadError, match=rf'^cannot read .*letter\.jpg: .*{reason}'):
        read_photo(path)


def test_damaged_checksum_is_refused() -> None:
    data = bytearray(encoded(Image.effect_noise((64, 64), 50), 'PNG'))
    data[len(data) // 2] ^= 255
    with pytest.raises(ImageReadError, match=r'^cannot read x\.png: \S'):
        decode_photo(bytes(data), 'x.png')


def test_header_alone_is_refused_with_a_reason() -> None:
    with pytest.raises(ImageReadError, match='content is damaged or cut short'):
        decode_photo(b'\x89PNG\r\n\x1a\n', 'x.png')


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match='Is a directory'):
        read_photo(tmp_path)


def test_floating_point_file_without_a_range_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / 'in.tif', np.full((4, 4), 2, np.float32))
    with pytest.raises(ImageReadError, match='pixels are float, not 8-bit or 16-bit'):
        read_photo(tmp_path / 'in.tif')


@pytest.mark.parametrize('size', [(1, 1), (40, 12000), (12000, 40)], ids=str)
@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif', '.webp'])
def test_extreme_sizes(size: tuple[int, int], suffix: str, tmp_path: Path) -> None:
    pixels = np.full((*size, 3), 120, np.uint8)
    write_photo(pixels, tmp_path / f'x{suffix}')
    assert Image.open(tmp_path / f'x{suffix}').size == size[::-1]
    photo = read_photo(tmp_path / f'x{suffix}')
    assert photo.size == size
    assert np.abs(photo.pixels.astype(int) - 120).max() <= 1


@pytest.mark.parametrize(
    ('pixels', 'is_colour'),
    [
        pytest.param(blocks(), True, id='colour'),
        pytest.param(np.repeat(blocks()[..., :1], 3, axis=2), False, id='grey'),
        pytest.param(np.repeat(blocks()[..., :1] // 2, 3, axis=2) + np.array([40, 20, 0], np.uint8), True, id='sepia'),
    ],
)
@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_colour_input_is_flagged(pixels: np.ndarray, is_colour: bool, kind: str) -> None:
    assert decode_photo(encoded(Image.fromarray(pixels), kind), 'x').is_colour == is_colour


def test_alpha_is_kept_where_the_format_has_it(tmp_path: Path) -> None:
    alpha = blocks()[..., 1]
    photo = Photo.from_array(np.dstack([blocks(), alpha]))
    for suffix in ('.png', '.tif', '.webp', '.jpg'):
        write_photo(photo, tmp_path / f'out{suffix}')
    for suffix in ('.png', '.tif', '.webp'):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f'out{suffix}'))[..., 3], alpha)
    opaque = np.asarray(Image.open(tmp_path / 'out.jpg')).astype(int)
    assert opaque.shape == (40, 56, 3)
    assert np.abs(opaque - blocks()).mean() < 2  # left out, not blended with black


def test_alpha_follows_the_depth_of_new_pixels() -> None:
    photo = Photo.from_array(np.dstack([blocks(), blocks()[..., 1]]))
    deep = photo.with_pixels(photo.pixels.astype(np.uint16) * 257)
    np.testing.assert_array_equal(deep.alpha, blocks()[..., 1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(deep.with_pixels(photo.pixels).alpha, photo.alpha)
    with pytest.raises(ValueError, match=r'shape \(40, 56, 3\), but got uint8 of \(2, 2, 3\)'):
        photo.with_pixels(np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize('suffix', ['.jpg', '.webp'])
def test_16bit_is_rounded_where_the_format_has_8(suffix: str, tmp_path: Path) -> None:
    write_photo(blocks().astype(np.uint16) * 257, tmp_path / f'out{suffix}')
    assert read_photo(tmp_path / f'out{suffix}').pixels.dtype == np.uint8


def test_rgb8_rounds() -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.floor(deep / 257 + 0.5)
    np.testing.assert_array_equal(Photo.from_array(deep).rgb8[..., 0], expected)


@pytest.mark.parametrize(
    ('array', 'expected'),
    [
        pytest.param(np.full((3, 4), 7, np.uint8), 7, id='grey'),
        pytest.param(np.full((3, 4, 1), 7, np.uint16), 7, id='grey_with_axis'),
        pytest.param(np.full((3, 4, 3), 7, np.uint8), 7, id='rgb'),
        pytest.param(np.full((3, 4, 4), 7, np.uint8), 7, id='rgba'),
        pytest.param(np.full((3, 4), 1.0), 65535, id='float64'),
        pytest.param(np.full((3, 4, 3), 0.5, np.float32), 32768, id='float32'),
    ],
)
def test_array_becomes_photo(array: np.ndarray, expected: int) -> None:
    photo = Photo.from_array(array)
    assert photo.pixels.shape == (3, 4, 3)
    assert (photo.pixels == expected).all()
    assert (photo.alpha is not None) == (array.shape[-1] == 4 and array.ndim == 3)
    assert photo.metadata == Metadata()


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        pytest.param(np.zeros((3, 4, 2), np.uint8), r'\(3, 4, 2\) and dtype uint8', id='two_channels'),
        pytest.param(np.zeros((2, 3, 4, 3), np.uint8), r'\(2, 3, 4, 3\)', id='batch'),
        pytest.param(np.zeros((0, 4, 3), np.uint8), r'\(0, 4, 3\)', id='no_pixels'),
        pytest.param(np.zeros((3, 4), np.int64), 'dtype int64', id='int64'),
        pytest.param(np.zeros((3, 4), bool), 'dtype bool', id='bool'),
        pytest.param(np.full((3, 4), 255.0), r'255\.0\.\.255\.0', id='float_over_one'),
        pytest.param(np.full((3, 4), np.nan), 'nan', id='nan'),
    ],
)
def test_array_that_is_no_photo_is_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Photo.from_array(array)


def test_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('not a folder')
    with pytest.raises(ImageWriteError, match=r'^cannot write .*file/out\.png: Not a directory$'):
        write_photo(blocks(), tmp_path / 'file' / 'out.png')
    with pytest.raises(ImageWriteError, match='No such file or directory'):
        write_photo(blocks(), tmp_path / 'absent' / 'out.png')


def test_unknown_suffix_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'out\.gif: its suffix must be one of \.png, \.jpg'):
        write_photo(blocks(), tmp_path / 'out.gif')


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / 'out.png'
    target.write_bytes(b'old')

    def full_disk(self: Path, other: Path) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'replace', full_disk)
    with pytest.raises(ImageWriteError, match='No space left on device'):
        write_photo(blocks(), target)
    assert [path.name for path in tmp_path.iterdir()] == ['out.png']
    assert target.read_bytes() == b'old'


def test_photo_too_large_for_its_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageWriteError, match=r'cannot write .*wide\.webp: \S'):
        write_photo(np.zeros((1, 20000, 3), np.uint8), tmp_path / 'wide.webp')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('suffix', 'side', 'most'), [('.webp', 16384, '16383'), ('.jpg', 65501, '65500')])
@pytest.mark.parametrize('upright', [False, True])
def test_the_longest_side_of_a_format_is_named(suffix: str, side: int, most: str, upright: bool) -> None:
    pixels = np.zeros((side, 1, 3) if upright else (1, side, 3), np.uint8)
    with pytest.raises(ImageWriteError, match=most):
        encode_photo(pixels, suffix)


def test_written_file_has_the_usual_rights(tmp_path: Path) -> None:
    (tmp_path / 'usual').write_bytes(b'')
    write_photo(blocks(), tmp_path / 'out.png')
    assert (tmp_path / 'out.png').stat().st_mode == (tmp_path / 'usual').stat().st_mode


def test_file_changed_between_two_reads_is_read_anew(tmp_path: Path) -> None:
    for value in (10, 200):
        write_photo(np.full((8, 8, 3), value, np.uint8), tmp_path / 'x.png')
        assert (read_photo(tmp_path / 'x.png').pixels == value).all()


@pytest.mark.parametrize('suffix', ['.png', '.JPG', '.tif', '.webp'])
def test_encoded_bytes_are_those_of_the_file(tmp_path: Path, suffix: str) -> None:
    photo = decode_photo(encoded(Image.fromarray(blocks()), 'PNG', icc_profile=profile('p3')), 'x')
    write_photo(photo, tmp_path / f'x{suffix}')
    assert encode_photo(photo, suffix) == (tmp_path / f'x{suffix}').read_bytes()
    np.testing.assert_array_equal(decode_photo(encode_photo(blocks(), '.png'), 'x').pixels, blocks())


def test_unknown_suffix_of_encoded_bytes_is_named() -> None:
    with pytest.raises(ValueError, match=r"must be one of \.png, .* but got '\.gif'"):
        encode_photo(blocks(), '.gif')


def test_missing_library_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    libvips.cache_clear()
    monkeypatch.setitem(sys.modules, 'pyvips', None)
    with pytest.raises(ImportError, match=r'pip install "pyvips\[binary\]"'):
        decode_photo(b'x', 'x.png')


def test_alpha_survives_a_profile(tmp_path: Path) -> None:
    rgba = np.dstack([blocks(), blocks()[..., 1]])
    photo = decode_photo(encoded(Image.fromarray(rgba), 'PNG', icc_profile=profile('p3')), 'x')
    np.testing.assert_array_equal(photo.alpha, rgba[..., 3])
    write_photo(photo, tmp_path / 'out.tif')
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'out.tif'))[..., 3], rgba[..., 3])


def test_name_with_brackets_and_accents(tmp_path: Path) -> None:
    path = tmp_path / 'été [1].png'
    write_photo(blocks(), path)
    np.testing.assert_array_equal(read_photo(path).pixels, blocks())
