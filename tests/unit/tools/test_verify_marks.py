"""What tools/verify_marks.py prints, and its exit status."""

import json
import sys

import numpy as np
import pytest
import signing
from scripts import load_script

from insta_colorization.imaging.credentials import Original, Signer
from insta_colorization.imaging.marks import SOURCE_TYPE, Change, marked
from insta_colorization.imaging.photo import Photo, encode_photo

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
CHANGE = Change({'caption': {'text': 'a red bus'}}, when='2026-08-02T10:20:30Z')


@pytest.fixture(scope='module')
def main():
    return load_script('tools/verify_marks.py').main


@pytest.fixture
def files(tmp_path):
    """A marked file and one that is not."""
    (tmp_path / 'a.jpg').write_bytes(encode_photo(marked(Photo(PIXELS), CHANGE), '.jpg'))
    (tmp_path / 'b.jpg').write_bytes(encode_photo(PIXELS, '.jpg'))
    return str(tmp_path / 'a.jpg'), str(tmp_path / 'b.jpg')


def test_a_marked_file(main, files, capsys):
    assert main([files[0]]) == 0

    first, source, history = capsys.readouterr().out.splitlines()
    assert first == f'{files[0]}: marked'
    assert source == f'  XMP: {SOURCE_TYPE}'
    assert history.startswith('  XMP history: edited 2026-08-02T10:20:30Z insta_colorization ')
    assert history.endswith(' {"caption":{"text":"a red bus"}}')


def test_one_without_marks_among_others(main, files, capsys):
    assert main(list(files)) == 1

    out = capsys.readouterr().out
    assert f'{files[0]}: marked\n' in out
    assert out.endswith(f'{files[1]}: NOT marked\n')


@pytest.mark.parametrize(('most', 'status'), [(PIXELS[..., 0].size, 0), (PIXELS[..., 0].size - 1, 1)])
def test_results_up_to_a_limit_of_pixels_are_read(main, files, capsys, most, status):
    assert main([files[0], '--max-pixels', str(most)]) == status

    assert ('more than max_pixels 2399 allows' in capsys.readouterr().out) == bool(status)


def test_as_json(main, files, tmp_path, capsys):
    assert main([*files, str(tmp_path / 'absent.jpg'), '--json']) == 1

    first, second, third = json.loads(capsys.readouterr().out)
    assert (first['file'], first['holds'], first['xmp']['source_type']) == (files[0], True, SOURCE_TYPE)
    assert (second['holds'], second['xmp'], second['error']) == (False, None, None)
    assert third['error'] == f'cannot read {tmp_path}/absent.jpg: No such file or directory'


def test_manifests(main, files, tmp_path, capsys):
    pytest.importorskip('c2pa', reason='pip install "insta_colorization[c2pa]"')
    own, other = signing.made(tmp_path), tmp_path / 'other'
    other.mkdir()
    data = Signer(own.certificate, own.key).sign(encode_photo(PIXELS, '.png'), CHANGE, Original('grey.png'))
    (tmp_path / 'a.png').write_bytes(data)
    (tmp_path / 'b.png').write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])

    assert main([str(tmp_path / 'a.png'), '--trust', str(own.authority)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        '  C2PA: Trusted, signed by Archive of tests',
        '  C2PA actions: c2pa.opened, c2pa.edited',
        '  C2PA parent: grey.png',
    ]
    assert main([str(tmp_path / 'a.png'), '--trust', str(signing.made(other).authority)]) == 1
    assert 'a.png: marks do not hold\n  C2PA: Valid (signingCredential.untrusted)' in capsys.readouterr().out
    assert main([str(tmp_path / 'b.png')]) == 1
    assert 'b.png: marks do not hold\n  C2PA: Invalid (assertion.dataHash.mismatch)' in capsys.readouterr().out


def test_what_is_trusted_must_be_certificates(main, files, capsys):
    assert main([files[0], '--trust', files[1]]) == 1
    assert capsys.readouterr().err == f'error: {files[1]} holds no certificate in PEM form\n'


def test_a_manifest_without_the_library_is_not_taken_for_valid(main, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'c2pa', None)
    data = encode_photo(marked(Photo(PIXELS), CHANGE), '.jpg')
    (tmp_path / 'a.jpg').write_bytes(data[:-2] + b'jumdc2pa' + data[-2:])

    assert main([str(tmp_path / 'a.jpg')]) == 1
    assert '  C2PA needs c2pa-python: pip install' in capsys.readouterr().out
