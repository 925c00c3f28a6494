"""What public reports say of files from elsewhere; truth comes from what was stored, from formulas and from Pillow."""

import io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from insta_colorization.imaging.codecs import Metadata, xmp_of
from insta_colorization.imaging.decoders import ImageReadError, libvips
from insta_colorization.imaging.photo import Photo, decode_photo, encode_photo, read_photo

pytest.importorskip('pyvips', reason='pip install "pyvips[binary]"')

ORIENTATION, RESOLUTION_UNIT, MAKER_NOTE, EXIF_DIRECTORY = 0x0112, 296, 0x927C, 0x8769
GREY = np.kron(np.random.default_rng(1).integers(30, 226, (5, 7)), np.ones((8, 8))).astype(np.uint8)
COLOUR = np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])
ALPHA = np.random.default_rng(2).integers(0, 256, GREY.shape).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tiff(pixels: np.ndarray, photometric: str, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, photometric=photometric, metadata=None, **options)
    return out.getvalue()


@pytest.fixture(scope='module')
def grey_profile() -> bytes:
    """Of grey pixels, as Little CMS makes it."""
    from PIL import ImageCms

    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    made[16:20] = b'GRAY'
    return bytes(made)


class TestProfiles:
    @pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF'])
    def test_of_colours_mean_nothing_for_grey(self, kind):
        profile = bytes(libvips().Image.profile_load('p3'))
        photo, bare = (
            decode_photo(encoded(Image.fromarray(GREY), kind, icc_profile=each), 'x') for each in (profile, None)
        )
        np.testing.assert_array_equal(photo.pixels, bare.pixels)
        assert photo.metadata.profile in (None, bytes(libvips().Image.profile_load('srgb')))

    @pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF'])
    def test_of_grey_mean_nothing_for_colours(self, kind, grey_profile):
        photo, bare = (
            decode_photo(encoded(Image.fromarray(COLOUR), kind, icc_profile=each), 'x') for each in (grey_profile, None)
        )
        np.testing.assert_array_equal(photo.pixels, bare.pixels)
        assert photo.metadata.profile is None

    @pytest.mark.parametrize('mode', ['L', 'RGB', 'CMYK'])
    @pytest.mark.parametrize('profile', [b'no profile ' * 20, None], ids=['junk', 'cut'])
    @pytest.mark.parametrize('kind', ['JPEG', 'TIFF'])
    def test_that_are_damaged_cost_no_photo(self, kind, mode, profile):
        profile = profile or bytes(libvips().Image.profile_load('cmyk' if mode == 'CMYK' else 'p3'))[:300]
        image = Image.fromarray(COLOUR).convert(mode)
        photo, bare = (decode_photo(encoded(image, kind, icc_profile=each), 'x') for each in (profile, None))
        np.testing.assert_array_equal(photo.pixels, bare.pixels)


class TestAlpha:
    @pytest.mark.parametrize('kind', ['PNG', 'TGA', 'SGI', 'DDS', 'TIFF'])
    def test_of_colours(self, kind):
        data = encoded(Image.fromarray(np.dstack([COLOUR, ALPHA])), kind)
        photo = decode_photo(data, 'x')
        np.testing.assert_array_equal(photo.alpha, ALPHA)
        np.testing.assert_array_equal(photo.pixels, COLOUR)

    def test_of_an_icon(self):
        image = Image.fromarray(np.dstack([COLOUR, ALPHA])[:32, :32])
        np.testing.assert_array_equal(decode_photo(encoded(image, 'ICO', sizes=[(32, 32)]), 'x').alpha, ALPHA[:32, :32])

    @pytest.mark.parametrize('mode', ['P', 'L', 'RGB'])
    def test_of_one_colour(self, mode):
        image = Image.fromarray(COLOUR).convert(mode)
        key = tuple(COLOUR[0, 0].tolist()) if mode == 'RGB' else image.getpixel((0, 0))
        data = encoded(image, 'PNG', transparency=key)
        expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGBA'))
        assert set(np.unique(expected[..., 3])) == {0, 255}
        np.testing.assert_array_equal(decode_photo(data, 'x').alpha, expected[..., 3])

    @pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
    @pytest.mark.parametrize('alpha', ['unassalpha', 'assocalpha', 'unspecified'])
    def test_of_grey_in_a_tiff(self, alpha, dtype):
        top = np.iinfo(dtype).max
        truth, share = GREY / 255, np.full(GREY.shape, 0.6)
        stored = np.dstack([truth * share if alpha == 'assocalpha' else truth, share]) * top
        photo = decode_photo(tiff(stored.round().astype(dtype), 'minisblack', extrasamples=[alpha]), 'x')
        np.testing.assert_allclose(photo.pixels[..., 0] / top, truth, atol=1.1 / 255)
        np.testing.assert_allclose(photo.alpha / top, share, atol=1 / 255)


class TestCmyk:
    def test_without_the_mark_of_adobe_is_inverted_as_by_pillow(self):
        data = encoded(Image.fromarray(COLOUR).convert('CMYK'), 'JPEG', quality=95)
        at = data.index(b'\xff\xee')
        bare = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], 'big') :]
        np.testing.assert_array_equal(decode_photo(bare, 'x').pixels, decode_photo(data, 'x').pixels)

    def test_of_16_bits_is_that_of_8(self):
        cmyk = np.dstack([255 - COLOUR, GREY // 4])
        narrow, wide = (
            decode_photo(tiff(each, 'separated'), 'x').pixels for each in (cmyk, cmyk.astype(np.uint16) * 257)
        )
        assert wide.dtype == np.uint16
        assert np.abs(wide / 257 - narrow).max() <= 1


class TestPsd:
    """Photoshop's own format, of which Pillow passes on the profile alone."""

    @staticmethod
    def psd(resources: bytes) -> bytes:
        header = struct.pack('>4sH6xHLLHH', b'8BPS', 1, 1, *GREY.shape, 8, 1)
        return header + bytes(4) + struct.pack('>L', len(resources)) + resources + bytes(4) + bytes(2) + GREY.tobytes()

    @staticmethod
    def resource(number: int, content: bytes) -> bytes:
        return struct.pack('>4sHHL', b'8BIM', number, 0, len(content)) + content + bytes(len(content) % 2)

    def test_keeps_what_it_says(self):
        exif = Image.Exif()
        exif[0x013B] = 'Ann'
        xmp, iptc = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', b'\x1c\x02\x78\0\x04Hall'
        size = struct.pack('>LHHLHH', 300 << 16, 1, 1, 200 << 16, 1, 1)
        contents = {0x03ED: size, 0x0404: iptc, 0x0422: exif.tobytes().removeprefix(b'Exif\0\0'), 0x0424: xmp}

        photo = decode_photo(self.psd(b''.join(self.resource(*each) for each in contents.items())), 'x')

        np.testing.assert_array_equal(photo.pixels[..., 0], GREY)
        assert photo.metadata.dpi == pytest.approx((300, 200))
        assert photo.metadata.blobs == {'exif-data': exif.tobytes(), 'iptc-data': iptc, 'xmp-data': xmp}
        with Image.open(io.BytesIO(encode_photo(photo, '.jpg'))) as written:
            assert written.getexif()[0x013B] == 'Ann'

    @pytest.mark.parametrize('resources', [b'', b'8BIM\x03\xed\0\0\0\0\0\1\x01\0'], ids=len)
    def test_that_says_nothing(self, resources):
        photo = decode_photo(self.psd(resources), 'x')

        assert photo.metadata.blobs == {}
        assert photo.metadata.dpi == pytest.approx((72, 72), rel=1e-3)


class TestPixmaps:
    @pytest.mark.parametrize('white', [65535, 4095, 256])
    def test_of_more_than_8_bits_keep_them(self, white):
        values = np.random.default_rng(3).integers(0, white + 1, (5, 7, 3))
        data = b'P6 # by dcraw\n7\n#\n5 %d\n' % white + values.astype('>u2').tobytes()

        photo = decode_photo(data, 'x')

        np.testing.assert_array_equal(photo.pixels, (values * (65535 / white)).round().astype(np.uint16))

    def test_of_8_bits_have_8(self):
        data = b'P6\n%d %d\n255\n' % GREY.shape[::-1] + COLOUR.tobytes()

        np.testing.assert_array_equal(decode_photo(data, 'x').pixels, COLOUR)

    @pytest.mark.parametrize(
        ('data', 'message'),
        [
            (b'P6\n7 5\n65535\n' + bytes(209), 'it is cut short: 1 bytes are missing'),
            (b'P6\n99999 99999\n65535\n', 'it has 99999 x 99999 pixels, more than max_pixels'),
            (b'P6\n0 5\n65535\n' + bytes(99), 'cannot read x: '),
            (b'P6\n7 5\n65536\n' + bytes(999), 'cannot read x: '),
        ],
        ids=['short', 'large', 'empty', 'white'],
    )
    def test_that_are_damaged(self, data, message):
        with pytest.raises(ImageReadError, match=message):
            decode_photo(data, 'x')


@pytest.mark.parametrize('kind', ['sgi', 'jp2', 'ppm'])
def test_depth_is_not_lost_without_a_word(kind, caplog):
    wide = COLOUR.astype(np.uint16) * 257
    if kind == 'sgi':
        data = encoded(Image.fromarray(COLOUR), 'SGI', bpc=2)
    elif kind == 'ppm':
        data = b'P6\n%d %d\n65535\n' % GREY.shape[::-1] + wide.astype('>u2').tobytes()
    else:
        if not cv2.haveImageWriter('a.jp2'):
            pytest.skip('this OpenCV writes no JPEG 2000')
        data = cv2.imencode('.jp2', np.kron(wide, np.ones((2, 2, 1), np.uint16)))[1].tobytes()

    photo = decode_photo(data, 'a')

    told = 'a has 16 bits, of which 8 are read' in caplog.text
    assert told == (photo.pixels.dtype == np.uint8) == (kind != 'ppm')
    decode_photo(encoded(Image.fromarray(COLOUR), 'JPEG2000'), 'b')
    decode_photo(encoded(Image.fromarray(wide[..., 0]), 'JPEG2000'), 'b')
    assert 'b has' not in caplog.text


class TestOrientation:
    @pytest.mark.parametrize('value', [0, 9, 65535])
    @pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
    def test_that_there_is_not_turns_nothing(self, kind, value):
        exif = Image.Exif()
        exif[ORIENTATION] = value
        photo = decode_photo(encoded(Image.fromarray(GREY), kind, exif=exif, quality=95), 'x')
        assert photo.size == GREY.shape
        assert np.abs(photo.pixels.astype(int) - GREY[..., None]).mean() < 2

    @pytest.mark.parametrize(('tag', 'value'), [(ORIENTATION, 9), (RESOLUTION_UNIT, 0), (RESOLUTION_UNIT, 7)])
    def test_of_16_bits_and_units_that_there_are_not(self, tag, value):
        wide = COLOUR.astype(np.uint16) * 257
        data = bytearray(tiff(wide, 'rgb', extratags=[(ORIENTATION, 3, 1, 1, True)]))
        data[data.index(struct.pack('<HHL', tag, 3, 1)) + 8] = value
        np.testing.assert_array_equal(decode_photo(bytes(data), 'x').pixels, wide)

    @pytest.mark.parametrize('kind', ['JPEG', 'WEBP'])
    def test_is_applied_once_where_xmp_repeats_it(self, kind):
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
        data = encoded(Image.fromarray(COLOUR), kind, exif=exif, xmp=xmp)
        upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        photo = decode_photo(data, 'x')
        assert photo.size == GREY.shape[::-1]
        assert np.abs(photo.pixels.astype(int) - upright).mean() < 1
        written = decode_photo(encode_photo(photo, '.jpg'), 'y')
        assert written.size == photo.size

    @pytest.mark.parametrize('said', [b'tiff:Orientation="6"/>', b"tiff:Orientation='6'/>", b'><tiff:Orientation>6<'])
    def test_of_xmp_is_upright_in_the_result(self, said):
        photo = Photo(COLOUR, metadata=Metadata(blobs={'xmp-data': b'<rdf:Description ' + said}))
        assert xmp_of(encode_photo(photo, '.png'), 'x') == b'<rdf:Description ' + said.replace(b'6', b'1')


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif'])
@pytest.mark.parametrize('dpi', [(72, 72), (254, 254), (96.5, 96.5), (1200, 1200), (300, 600)], ids=str)
def test_a_resolution_goes_through_every_format(suffix, dpi):
    photo = decode_photo(encoded(Image.fromarray(GREY), 'TIFF', dpi=dpi), 'x')
    again = decode_photo(encode_photo(photo, suffix), 'y').metadata.dpi
    assert again == pytest.approx(dpi, abs=0.6 if suffix == '.jpg' else 0.02)  # a JPEG has whole numbers


@pytest.mark.parametrize('compression', [None, 'lzma'])
def test_a_resolution_that_damage_made_is_none_and_nothing_is_printed(compression, capfd):
    data = tiff(GREY, 'minisblack', resolution=(1e9, 1e9), resolutionunit=2, compression=compression)
    photo = decode_photo(data, 'x')
    assert photo.metadata.dpi == (72, 72)
    assert capfd.readouterr() == ('', '')


def test_a_ratio_that_damage_made_is_none(capfd):
    data = tiff(GREY, 'minisblack', resolution=(1e8, 1e-3), resolutionunit=1)
    encode_photo(decode_photo(data, 'x'), '.png')
    assert capfd.readouterr() == ('', '')


def test_a_resolution_by_the_centimetre():
    assert decode_photo(tiff(GREY, 'minisblack', resolution=(100, 100), resolutionunit=3), 'x').metadata.dpi == (
        254,
        254,
    )


@pytest.mark.parametrize('suffix', ['.jpg', '.tif', '.png', '.webp'])
def test_width_and_height_in_exif_are_those_of_the_turned_picture(suffix):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(EXIF_DIRECTORY).update({0xA002: GREY.shape[1], 0xA003: GREY.shape[0], 0x9003: '1923:04:05 06:07:08'})

    written = encode_photo(decode_photo(encoded(Image.fromarray(GREY), 'JPEG', exif=exif), 'x'), suffix)

    said = Image.open(io.BytesIO(written)).getexif().get_ifd(EXIF_DIRECTORY)
    assert (said[0xA002], said[0xA003], said[0x9003]) == (*GREY.shape, '1923:04:05 06:07:08')


@pytest.mark.parametrize('suffix', ['.jpg', '.tif', '.png', '.webp'])
def test_notes_of_a_camera_are_kept(suffix):
    exif = Image.Exif()
    exif.get_ifd(EXIF_DIRECTORY)[MAKER_NOTE] = b'LEICA\0\0\0' + bytes(range(90))
    photo = decode_photo(encoded(Image.fromarray(GREY), 'JPEG', exif=exif), 'x')
    with Image.open(io.BytesIO(encode_photo(photo, suffix))) as written:
        assert written.getexif().get_ifd(EXIF_DIRECTORY)[MAKER_NOTE] == b'LEICA\0\0\0' + bytes(range(90))


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize(
    'block', [b'Exif\0\0junk', b'Exif\0\0II*\0\xff\xff\0\0', b'Exif\0\0MM\0*\0\0\0\x08\xff\xff'], ids=repr
)
@pytest.mark.parametrize('suffix', ['.jpg', '.tif'])
def test_junk_for_exif_costs_no_photo(suffix, block, kind):
    photo = decode_photo(encoded(Image.fromarray(COLOUR), kind, exif=block), 'x')
    assert decode_photo(encode_photo(photo, suffix), 'y').size == GREY.shape


@pytest.mark.parametrize(('suffix', 'options'), [('.png', {'interlace': True}), ('.jpg', {'interlace': True, 'Q': 95})])
def test_what_comes_in_several_passes(suffix, options):
    data = libvips().Image.new_from_array(COLOUR, interpretation='srgb').write_to_buffer(suffix, **options)
    assert np.abs(decode_photo(data, 'x').pixels.astype(int) - COLOUR).mean() < (5 if suffix == '.jpg' else 1e-9)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP', 'GIF', 'BMP', 'TGA', 'PPM'])
def test_names_and_what_follows_a_photo_do_not_matter(tmp_path, kind):
    whole = encoded(Image.fromarray(GREY), kind)
    path = tmp_path / ('x.png' if kind == 'JPEG' else 'x.jpg')
    path.write_bytes(whole + b'\0trailing' * 9)
    np.testing.assert_array_equal(read_photo(path).pixels, decode_photo(whole, 'x').pixels)
