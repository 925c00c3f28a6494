"""Marks in XMP, read back by ExifTool, and the visible one."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from insta_colorization.imaging.codecs import Metadata, xmp_of
from insta_colorization.imaging.marks import AGENT, SOURCE_TYPE, Change, marked, visibly_marked
from insta_colorization.imaging.photo import WRITABLE_SUFFIXES, Photo, decode_photo, encode_photo
from insta_colorization.imaging.verification import verify
from insta_colorization.imaging.xmp import read_origin, with_event

pytest.importorskip('pyvips', reason='pip install "pyvips[binary]"')

FILM = 'http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm'
CHANGE = Change(
    {'weights': {'name': 'a', 'sha256': '0' * 64}, 'caption': {'text': 'ein grünes Boot'}}, when='2026-08-02T10:20:30Z'
)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def photo(packet: bytes = b'') -> Photo:
    return Photo(PIXELS, metadata=Metadata(blobs={'xmp-data': packet} if packet else {}))


def titled(title: str) -> bytes:
    """A packet of a photo on film."""
    return with_event(b'', FILM, {'action': 'scanned'}).replace(
        b'</rdf:RDF>',
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title><rdf:Alt><rdf:li '
        b'xml:lang="x-default">' + title.encode() + b'</rdf:li></rdf:Alt></dc:title></rdf:Description></rdf:RDF>',
    )


@pytest.fixture(scope='module')
def told(tmp_path_factory) -> dict[str, dict]:
    """What ExifTool says of a result in each format."""
    if shutil.which('exiftool') is None:
        pytest.skip('there is no exiftool (Debian: libimage-exiftool-perl)')
    folder, result = tmp_path_factory.mktemp('results'), marked(photo(titled('Häfen')), CHANGE)
    for suffix in WRITABLE_SUFFIXES:
        (folder / f'a{suffix}').write_bytes(encode_photo(result, suffix))
    long = marked(photo(titled('x' * 150_000)), CHANGE)
    (folder / 'long.jpg').write_bytes(encode_photo(long, '.jpg'))
    command = ['exiftool', '-json', '-struct', '-G1', '-XMP:all', str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {'LC_ALL': 'C.UTF-8'})
    return {Path(each['SourceFile']).name: each for each in json.loads(done.stdout)}


@pytest.mark.parametrize('suffix', WRITABLE_SUFFIXES)
def test_exiftool_reads_the_marks(told, suffix):
    found = told[f'a{suffix}']
    assert found['XMP-iptcExt:DigitalSourceType'] == SOURCE_TYPE
    assert found['XMP-dc:Title'] == 'Häfen'
    scanned, edited = found['XMP-xmpMM:History']
    assert scanned['Action'] == 'scanned'
    assert (edited['Action'], edited['When']) == ('edited', '2026:08:02 10:20:30Z')
    assert edited['SoftwareAgent'] == f'insta_colorization {AGENT["version"]}'
    assert json.loads(edited['Parameters']) == {**CHANGE.parameters, 'former_digital_source_type': FILM}


def test_exiftool_reads_xmp_that_takes_several_segments_of_a_jpeg(told):
    assert told['long.jpg']['XMP-iptcExt:DigitalSourceType'] == SOURCE_TYPE
    assert told['long.jpg']['XMP-dc:Title'] == 'x' * 150_000
    assert [each['Action'] for each in told['long.jpg']['XMP-xmpMM:History']] == ['scanned', 'edited']


@pytest.mark.parametrize('suffix', WRITABLE_SUFFIXES)
def test_marks_stay_when_a_result_is_read_and_written_again(suffix):
    data = encode_photo(marked(photo(), CHANGE), suffix)

    again = xmp_of(encode_photo(decode_photo(data, 'x'), suffix), 'x')

    assert again == xmp_of(data, 'x')
    assert read_origin(again).source_type == SOURCE_TYPE


def test_damaged_xmp_is_replaced_with_a_warning(caplog):
    result = marked(replace(photo(b'<x:xmpmeta'), path=Path('a.jpg')), CHANGE)

    assert len(read_origin(result.metadata.blobs['xmp-data']).history) == 1
    (record,) = caplog.records
    assert record.getMessage().startswith('the XMP of a.jpg is damaged and is replaced: ')


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_xmp_of_any_length_stays(suffix):
    result = marked(photo(titled('x' * 150_000)), CHANGE)

    data = encode_photo(result, suffix)

    again = xmp_of(data, 'x')
    assert b'x' * 150_000 in again
    assert read_origin(again) == read_origin(result.metadata.blobs['xmp-data'])
    np.testing.assert_array_equal(
        decode_photo(data, 'x').pixels, decode_photo(encode_photo(photo(), suffix), 'x').pixels
    )
    assert xmp_of(encode_photo(decode_photo(data, 'x'), '.tif'), 'x') == again


@pytest.mark.parametrize('damage', [slice(70_000, 70_001), slice(1000, 90_000)], ids=['changed', 'cut'])
def test_of_a_damaged_extension_the_mark_stays(damage):
    data = bytearray(encode_photo(marked(photo(titled('x' * 150_000)), CHANGE), '.jpg'))
    at = data.index(b'http://ns.adobe.com/xmp/extension/')
    for number in range(at + damage.start, at + damage.stop):
        data[number] ^= 1

    assert read_origin(xmp_of(bytes(data), 'x')).source_type == SOURCE_TYPE


def test_long_parameters_are_told_by_their_digest():
    hints = [{'box': [number] * 4, 'ab': [1.0, 2.0]} for number in range(2000)]

    event = Change({**CHANGE.parameters, 'hints': hints}).event(None)

    told = json.loads(event['parameters'])
    assert told['hints'].keys() == {'characters', 'sha256'}
    assert told['weights'] == CHANGE.parameters['weights']
    assert len(event['parameters']) < 1000


def test_a_photo_that_says_it_was_coloured_by_another_is_not_ours_to_hide():
    first = marked(photo(), Change({}, when='2020-01-01T00:00:00Z'))

    history = read_origin(marked(first, CHANGE).metadata.blobs['xmp-data']).history

    assert [each['when'] for each in history] == ['2020-01-01T00:00:00Z', CHANGE.when]
    assert json.loads(history[1]['parameters'])['former_digital_source_type'] == SOURCE_TYPE


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('size', [(900, 1200), (60, 80), (12, 200), (1, 1)], ids=str)
def test_the_visible_mark_is_small_and_in_the_corner(size, dtype):
    top = np.iinfo(dtype).max
    plain = np.full((*size, 3), top // 3, dtype)

    changed = (visibly_marked(plain) != plain).any(axis=2)

    assert changed.any()
    rows, columns = np.nonzero(changed)
    if min(size) > 100:
        assert changed.mean() < 0.01
        assert rows.min() > 0.9 * size[0]
        assert columns.min() > 0.6 * size[1]
        assert visibly_marked(plain).max() == top  # light letters
        assert visibly_marked(plain).min() < top // 10  # with a dark edge
    assert (plain == top // 3).all()


class TestVerification:
    def result(self, folder: Path, data: bytes, name: str = 'a.png') -> dict:
        (folder / name).write_bytes(data)
        return verify(folder / name)

    def test_a_marked_file_holds(self, tmp_path):
        found = self.result(tmp_path, encode_photo(marked(photo(), CHANGE), '.png'))

        assert found['holds']
        assert found['xmp']['source_type'] == SOURCE_TYPE
        assert json.loads(found['xmp']['history'][0]['parameters']) == CHANGE.parameters

    def test_a_file_of_another_source_does_not(self, tmp_path):
        found = self.result(tmp_path, encode_photo(photo(titled('a')), '.png'))

        assert not found['holds']
        assert found['xmp']['source_type'] == FILM

    def test_nor_does_one_without_xmp(self, tmp_path):
        found = self.result(tmp_path, cv2.imencode('.png', PIXELS)[1].tobytes())

        assert found == {'file': str(tmp_path / 'a.png'), 'holds': False, 'xmp': None, 'c2pa': None, 'error': None}

    @pytest.mark.parametrize(
        ('data', 'message'),
        [
            (b'', 'cannot read .*a.png'),
            (b'rubbish', 'cannot read .*a.png'),
            (encode_photo(photo(b'<x:xmpmeta'), '.png'), 'the XMP of .*a.png is damaged: '),
        ],
        ids=['empty', 'no-photo', 'damaged-xmp'],
    )
    def test_what_cannot_be_read_is_an_error(self, tmp_path, data, message):
        found = self.result(tmp_path, data)

        assert not found['holds']
        assert re.match(message, found['error'])

    def test_a_missing_file_is_an_error(self, tmp_path):
        assert verify(tmp_path / 'a.png')['error'] == f'cannot read {tmp_path}/a.png: No such file or directory'
