"""What a file may do that comes from anywhere: be refused in one sentence, and nothing else."""

import io
import os
import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from insta_colorization.imaging import decoders
from insta_colorization.imaging.decoders import libvips, with_own_error
from insta_colorization.imaging.photo import ImageReadError, decode_photo, load_rgb, read_photo

pytest.importorskip('pyvips', reason='pip install "pyvips[binary]"')

POSTSCRIPT = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\n{} loop\n'


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A PNG of that size by its header, of one byte of pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack('>L', len(content)) + name + content + struct.pack('>L', zlib.crc32(name + content))

    header = struct.pack('>LLBBBBB', width, height, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0')) + chunk(b'IEND', b'')


def reason_of(data: bytes) -> str:
    """Why a file is refused, '' if it is not."""
    try:
        decode_photo(data, 'x')
    except ImageReadError as error:
        return str(error).removeprefix('cannot read x: ')
    return ''


@pytest.fixture
def started(tmp_path, monkeypatch) -> Path:
    """A file that is there as soon as anybody starts Ghostscript."""
    for name in ('gs', 'gswin32c', 'gswin64c'):
        (tmp_path / name).write_text(f'#!/bin/sh\ntouch {tmp_path}/started\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.setattr('PIL.EpsImagePlugin.gs_binary', None)
    return tmp_path / 'started'


@pytest.mark.parametrize('read', [read_photo, load_rgb])
@pytest.mark.parametrize('name', ['x.jpg', 'x.eps'])
def test_no_file_starts_a_program(tmp_path, started, read, name):
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with Image.open(tmp_path / name) as opened, suppress(OSError):
        opened.load()
    assert started.exists()  # so the test would notice
    started.unlink()

    with pytest.raises(ImageReadError, match=rf'cannot read .*{name}: not an image in a known format'):
        read(tmp_path / name)

    assert not started.exists()


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        pytest.param(b'%PDF-1.4\n', 'a PDF; `pdftoppm', id='PDF'),
        pytest.param(b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'an SVG; `rsvg-convert', id='SVG'),
        pytest.param(b'<?xml version="1.0"?>\n<!-- a -->\n<svg/>', 'an SVG; `rsvg-convert', id='SVG in XML'),
        pytest.param(POSTSCRIPT, 'PostScript; `gs ', id='PostScript'),
        pytest.param(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'HEIC; `heif-convert', id='HEIC'),
        pytest.param(b'\0\0\0\x1cftypmif1\0\0\0\0mif1heic', 'HEIC; `heif-convert', id='HEIC by its second name'),
        pytest.param(b'\0\0\0\x18ftypcrx \0\0\0\1crx isom', 'a raw photo, which other programs', id='CR3'),
        pytest.param(b'FUJIFILMCCD-RAW 0201', 'a raw photo, which other programs', id='RAF'),
        pytest.param(b'\0\0\0\x18ftypisom\0\0\2\0isomiso2', 'a film; `ffmpeg', id='MP4'),
        pytest.param(b'\x1aE\xdf\xa3\x01\0\0\0', 'a film; `ffmpeg', id='Matroska'),
        pytest.param(b'RIFF\0\0\0\0AVI LIST', 'a film; `ffmpeg', id='AVI'),
        pytest.param(b'\0\0\0\x0cJXL \r\n\x87\n', 'JPEG XL; `djxl', id='JPEG XL'),
        pytest.param(b'SDPX' + bytes(60), 'DPX, OpenEXR or Radiance; `magick', id='DPX'),
        pytest.param(b'v/1\x01\2\0\0\0', 'DPX, OpenEXR or Radiance; `magick', id='OpenEXR'),
        pytest.param(b'#?RADIANCE\n', 'DPX, OpenEXR or Radiance; `magick', id='Radiance'),
        pytest.param(b'<!doctype html><svg/>', '', id='a page of the web'),
        pytest.param(b'Dear Sir', '', id='text'),
    ],
)
def test_other_formats_are_unknown_and_some_have_a_way_out(data, words):
    assert reason_of(data * 60).startswith(f'not an image in a known format{", but " + words if words else ""}')
    assert words or reason_of(data) == 'not an image in a known format'


def test_a_damaged_photo_is_not_called_something_else():
    damaged = bytearray(encoded(Image.effect_noise((64, 64), 80), 'AVIF'))
    del damaged[-500:]
    assert reason_of(bytes(damaged))
    assert 'known format' not in reason_of(bytes(damaged))


def test_the_limit_of_pillow_is_named(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 7)
    assert reason_of(encoded(Image.new('RGB', (4, 4)), 'BMP')).startswith('it has more than the 14 pixels that Pillow ')


def test_an_msp():
    image = Image.effect_noise((32, 32), 80).convert('1')
    np.testing.assert_array_equal(decode_photo(encoded(image, 'MSP'), 'x').pixels, np.asarray(image.convert('RGB')))


def test_a_sun_raster():
    values = np.arange(24, dtype=np.uint8).reshape(4, 6)
    data = struct.pack('>8L', 0x59A66A95, 6, 4, 8, 24, 1, 0, 0) + values.tobytes()
    np.testing.assert_array_equal(decode_photo(data, 'x').pixels[..., 0], values)


@pytest.mark.parametrize('read', [read_photo, load_rgb])
@pytest.mark.parametrize(('width', 'height'), [(60000, 60000), (2**31 - 1, 1), (300_000_001, 1)])
def test_more_pixels_than_the_limit_are_refused_by_the_header(tmp_path, read, width, height):
    (tmp_path / 'x.png').write_bytes(png_that_says(width, height))

    with pytest.raises(ImageReadError, match=r'cannot read .*x\.png: '):
        read(tmp_path / 'x.png')


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF', 'WEBP', 'GIF', 'BMP', 'TGA', 'PPM', 'JPEG2000', 'AVIF', 'ICO'])
@pytest.mark.parametrize('read', [read_photo, load_rgb])
def test_the_limit_holds_for_every_format(tmp_path, kind, read):
    (tmp_path / 'x').write_bytes(encoded(Image.new('RGB', (16, 16)), kind))

    assert read(tmp_path / 'x', 256) is not None
    with pytest.raises(ImageReadError, match=r'cannot read .*: it has 16 x 16 pixels, more than max_pixels 255 allows'):
        read(tmp_path / 'x', 255)


@pytest.mark.parametrize('read', [read_photo, load_rgb])
@pytest.mark.parametrize('kind', ['pipe', 'device', 'socket', 'circle'])
def test_special_files_are_refused_at_once(tmp_path, monkeypatch, read, kind):
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    path = Path('x.jpg')
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    elif kind == 'socket':
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.symlink_to(path)

    with pytest.raises(ImageReadError, match=r'cannot read x\.jpg: .*(Not a regular file|Too many levels)'):
        read(path)


@pytest.mark.slow
def test_a_photo_never_fails_for_another_one_nor_takes_its_reason():
    """libvips has one text of errors for all threads."""
    noise = Image.effect_noise((64, 64), 80)
    cut = {kind: encoded(noise, kind)[:-200] for kind in ('JPEG', 'PNG', 'TIFF', 'WEBP')}
    files = [encoded(Image.new('RGB', (8, 6)), 'BMP'), *cut.values()]
    alone = [reason_of(data) for data in files]
    assert alone[0] == ''
    assert all(alone[1:])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reason_of, files * 60)) == alone * 60


def test_the_reason_does_not_depend_on_which_thread_of_libvips_was_first():
    """Of some damaged PNGs the second line is there now and then."""
    call = 'unable to call VipsForeignLoadPngBuffer'

    assert decoders.reason_of(OSError(f'{call}\n  pngload_buffer: load error\n')) == decoders.reason_of(OSError(call))
    assert decoders.reason_of(OSError(f'{call}\n  pngload_buffer: end of stream\n')) == 'pngload_buffer: end of stream'


def test_only_what_fails_is_done_again_alone():
    vips, calls = libvips(), []

    def fails_once() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise vips.Error('the text of another thread')
        return 'done'

    assert with_own_error(fails_once) == 'done'
    assert len(calls) == 2


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(b'P5 4 2 65535\n' + np.arange(0, 64000, 8000, dtype='>u2').tobytes(), id='PGM'),
        pytest.param(
            encoded(Image.fromarray(np.arange(0, 64000, 8000, np.uint16).reshape(2, 4)), 'JPEG2000'), id='JP2'
        ),
    ],
)
def test_16_bits_that_only_pillow_reads_stay_16_bits(tmp_path, data):
    (tmp_path / 'x').write_bytes(data)
    expected = np.arange(0, 64000, 8000).reshape(2, 4)

    photo = read_photo(tmp_path / 'x')

    assert photo.pixels.dtype == np.uint16
    np.testing.assert_array_equal(photo.pixels[..., 1], expected)
    np.testing.assert_array_equal(load_rgb(tmp_path / 'x')[..., 1], (expected / 257).round())


@pytest.mark.parametrize(
    ('data', 'found'),
    [
        pytest.param(b'Pf 1 1 -1.0\n' + struct.pack('<f', 2.5), 'float', id='PFM'),
        pytest.param(
            encoded(Image.fromarray(np.array([[70000]], np.int32)), 'TIFF'), '(32-bit integers|70000.*)', id='int32'
        ),
        pytest.param(encoded(Image.new('F', (1, 1), 2.5), 'TIFF'), 'float', id='TIFF'),
    ],
)
@pytest.mark.parametrize('read', [read_photo, load_rgb])
def test_other_numbers_are_refused_rather_than_cut_off(tmp_path, data, found, read):
    (tmp_path / 'x').write_bytes(data)

    with pytest.raises(ImageReadError, match=f'its pixels are {found}, not 8-bit or 16-bit integers'):
        read(tmp_path / 'x')


@pytest.mark.parametrize(
    'error', [RuntimeError('Failed to decode frame 0'), TypeError(''), struct.error('unpack')], ids=repr
)
def test_whatever_a_decoder_of_pillow_raises_is_a_photo_that_cannot_be_read(tmp_path, monkeypatch, error):
    """A training goes on with another photo."""
    (tmp_path / 'x.bmp').write_bytes(encoded(Image.new('RGB', (4, 4)), 'BMP'))

    def load(image: Image.Image) -> None:
        raise error

    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', load)

    for read in (read_photo, load_rgb):
        with pytest.raises(ImageReadError, match=f'cannot read .*x.bmp: {str(error) or "TypeError"}'):
            read(tmp_path / 'x.bmp')


@pytest.mark.parametrize('damage', [b'\xff' * 400, b''])
def test_libraries_do_not_print_what_they_find_wrong(tmp_path, capfd, damage):
    data = encoded(Image.effect_noise((60, 40), 60), 'TIFF', compression='tiff_lzw')
    path = tmp_path / 'x.tif'
    path.write_bytes(data[:200] + damage + data[200 + len(damage or data) :])

    for read in (load_rgb, read_photo):
        with pytest.raises(ImageReadError):
            read(path)

    assert capfd.readouterr().err == ''
