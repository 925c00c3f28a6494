"""C2PA manifests with certificates of the test's own, validated by the library's reader."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from signing import Files, made

from insta_colorization.imaging.credentials import Original, Signer, original_of, read_manifest
from insta_colorization.imaging.marks import SOURCE_TYPE, Change, marked
from insta_colorization.imaging.photo import (
    WRITABLE_SUFFIXES,
    Photo,
    encode_photo,
    read_photo,
    require_end,
    write_photo,
)
from insta_colorization.imaging.verification import verify

c2pa = pytest.importorskip('c2pa', reason='pip install "insta_colorization[c2pa]"')

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
CHANGE = Change({'weights': {'name': 'a', 'sha256': '0' * 64}}, when='2026-08-02T10:20:30Z')


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> Files:
    return made(tmp_path_factory.mktemp('signer'))


@pytest.fixture(scope='module')
def signer(files) -> Signer:
    return Signer(files.certificate, files.key)


@pytest.fixture(scope='module')
def original() -> Original:
    return Original('grey.jpg', encode_photo(PIXELS[..., 0], '.jpg'))


@pytest.mark.parametrize('suffix', WRITABLE_SUFFIXES)
def test_the_manifest_of_each_format_is_valid(signer, original, suffix, tmp_path):
    path = tmp_path / f'result{suffix}'
    plain = encode_photo(marked(Photo(PIXELS), CHANGE), suffix)

    path.write_bytes(signer.sign(plain, CHANGE, original, path.name))

    with c2pa.Reader(str(path)) as reader:
        assert reader.get_validation_state() == 'Valid'
        manifest = reader.get_active_manifest()
    assert manifest['title'] == path.name
    (parent,) = manifest['ingredients']
    assert (parent['relationship'], parent['title'], parent['format']) == ('parentOf', 'grey.jpg', 'image/jpeg')
    (assertion,) = manifest['assertions']
    opened, edited = assertion['data']['actions']
    assert (opened['action'], edited['action']) == ('c2pa.opened', 'c2pa.edited')
    assert len(opened['parameters']['ingredients']) == 1
    assert edited['digitalSourceType'] == SOURCE_TYPE
    assert edited['softwareAgent']['name'] == 'insta_colorization'
    assert edited['parameters'] == CHANGE.parameters
    require_end(path)
    (tmp_path / f'plain{suffix}').write_bytes(plain)
    np.testing.assert_array_equal(read_photo(path).pixels, read_photo(tmp_path / f'plain{suffix}').pixels)
    assert verify(path)['holds']
    assert verify(path)['xmp']['source_type'] == SOURCE_TYPE


def test_who_signed_can_be_asked_for(signer, files, original, tmp_path):
    path, other = tmp_path / 'a.png', made(tmp_path)
    path.write_bytes(signer.sign(encode_photo(PIXELS, '.png'), CHANGE, original))

    known, unknown = (verify(path, each.authority.read_text()) for each in (files, other))

    assert (known['holds'], known['c2pa']['state'], known['c2pa']['signer']) == (True, 'Trusted', 'Archive of tests')
    assert not unknown['holds']
    assert unknown['c2pa']['problems'] == ['signingCredential.untrusted']


def test_a_change_after_signing_is_found(signer, original, tmp_path):
    data = bytearray(signer.sign(encode_photo(PIXELS, '.jpg'), CHANGE, original))
    data[-100] ^= 1
    (tmp_path / 'a.jpg').write_bytes(data)

    found = verify(tmp_path / 'a.jpg')

    assert not found['holds']
    assert found['c2pa']['state'] == 'Invalid'
    assert 'assertion.dataHash.mismatch' in found['c2pa']['problems']


@pytest.mark.parametrize(
    'original',
    [
        Original('a.pcx', b'not known to the library'),
        Original('a.png', encode_photo(PIXELS, '.png')[:60]),
        Original('an address'),
    ],
    ids=['format', 'content', 'no-file'],
)
def test_an_original_of_any_kind_is_named(signer, original):
    data = signer.sign(encode_photo(PIXELS, '.png'), CHANGE, original)

    found = read_manifest(data, 'a.png')

    assert found is not None
    assert (found['state'], found['parents']) == ('Valid', [original.title])


@pytest.mark.parametrize('title', ['a.jpg', 'scan.png (page 2)'], ids=['wrong-suffix', 'page'])
def test_the_content_of_an_original_tells_its_type(signer, title):
    png = encode_photo(PIXELS, '.png')

    data = signer.sign(png, CHANGE, Original(title, png))

    with c2pa.Reader('image/png', io.BytesIO(data)) as reader:
        (parent,) = reader.get_active_manifest()['ingredients']
    assert (parent['title'], parent['format']) == (title, 'image/png')


def test_names_that_are_no_unicode_are_spelt_out(signer):
    name, png = os.fsdecode(b'M\xfcnchen.png'), encode_photo(PIXELS, '.png')

    found = read_manifest(signer.sign(png, CHANGE, Original(name, png), name), 'a.png')

    assert found is not None
    assert found['parents'] == [r'M\xfcnchen.png']


def test_the_manifest_of_another_program_whose_parent_has_no_title(files):
    opened = {'action': 'c2pa.opened', 'parameters': {'ingredientIds': ['a']}}
    manifest = {
        'format': 'image/png',
        'claim_generator_info': [{'name': 'other', 'version': '1'}],
        'ingredients': [{'relationship': 'parentOf', 'instance_id': 'a'}],
        'assertions': [{'label': 'c2pa.actions.v2', 'data': {'actions': [opened]}}],
    }
    info = c2pa.C2paSignerInfo('es256', files.certificate.read_bytes(), files.key.read_bytes(), None)
    result = io.BytesIO()
    with c2pa.Builder(manifest) as builder, c2pa.Signer.from_info(info) as signer:
        builder.sign(signer, 'image/png', io.BytesIO(encode_photo(PIXELS, '.png')), result)

    found = read_manifest(result.getvalue(), 'a.png')

    assert found is not None
    assert found['parents'] == ['untitled']


def test_a_manifest_that_a_photo_has_already_is_carried_on(signer, original):
    first = signer.sign(encode_photo(PIXELS, '.png'), CHANGE, original)

    second = signer.sign(encode_photo(PIXELS, '.jpg'), CHANGE, Original('first.png', first))

    with c2pa.Reader('image/jpeg', io.BytesIO(second)) as reader:
        told = json.loads(reader.json())
    assert told['validation_state'] == 'Valid'
    parents = [manifest['ingredients'][0]['title'] for manifest in told['manifests'].values()]
    assert sorted(parents) == ['first.png', 'grey.jpg']


def test_a_file_without_a_manifest_has_none():
    assert read_manifest(encode_photo(PIXELS, '.png'), 'a.png') is None


def key_of(kind: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves = {'es384': ec.SECP384R1, 'es512': ec.SECP521R1, 'secp256k1': ec.SECP256K1}
    if kind in curves:
        return ec.generate_private_key(curves[kind]())
    return rsa.generate_private_key(65537, 2048) if kind == 'ps256' else ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize('kind', ['es384', 'es512', 'ps256', 'ed25519'])
def test_the_algorithm_is_found_from_the_key(kind, original, tmp_path):
    files = made(tmp_path, key_of(kind))

    data = Signer(files.certificate, files.key).sign(encode_photo(PIXELS, '.png'), CHANGE, original)

    with c2pa.Reader('image/png', io.BytesIO(data)) as reader:
        assert reader.get_active_manifest()['signature_info']['alg'].lower() == kind


class TestRefused:
    def test_an_expired_certificate(self, tmp_path):
        files = made(tmp_path, days=(-20, -10))

        with pytest.raises(ValueError, match=r'chain.pem expired on 20\d\d-\d\d-\d\d; today is 20'):
            Signer(files.certificate, files.key)

    def test_a_certificate_of_tomorrow(self, tmp_path):
        files = made(tmp_path, days=(2, 10))

        with pytest.raises(ValueError, match=r'chain.pem is valid from 20.*; today is 20'):
            Signer(files.certificate, files.key)

    def test_a_key_that_does_not_fit(self, files, tmp_path):
        with pytest.raises(ValueError, match=r'the key .*key.pem does not fit the certificate .*chain.pem'):
            Signer(files.certificate, made(tmp_path).key)

    def test_a_key_of_another_kind(self, tmp_path):
        files = made(tmp_path, key_of('secp256k1'))

        with pytest.raises(ValueError, match=r'must be RSA, Ed25519 or on a curve of .*, but is secp256k1'):
            Signer(files.certificate, files.key)

    def test_a_key_with_a_password(self, files, tmp_path):
        from cryptography.hazmat.primitives import serialization as pem

        key = pem.load_pem_private_key(files.key.read_bytes(), None)
        hidden = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b'word'))
        (tmp_path / 'hidden.pem').write_bytes(hidden)

        with pytest.raises(ValueError, match=r'hidden.pem has a password, and is needed without one'):
            Signer(files.certificate, tmp_path / 'hidden.pem')

    def test_files_of_something_else(self, files, tmp_path):
        (tmp_path / 'text').write_text('hello')

        with pytest.raises(ValueError, match='text holds no certificate in PEM form'):
            Signer(tmp_path / 'text', files.key)
        with pytest.raises(ValueError, match='text holds no private key in PEM form'):
            Signer(files.certificate, tmp_path / 'text')
        with pytest.raises(FileNotFoundError, match='absent'):
            Signer(tmp_path / 'absent', files.key)

    def test_a_certificate_that_is_not_for_signing(self, files, tmp_path):
        """That of the authority, which signs certificates alone, with its own key."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives import serialization as pem

        key = pem.load_pem_private_key(files.key.read_bytes(), None)
        (own, _) = x509.load_pem_x509_certificates(files.certificate.read_bytes())
        name = own.subject
        bare = x509.CertificateBuilder(
            name, name, key.public_key(), 1, own.not_valid_before_utc, own.not_valid_after_utc
        ).sign(key, hashes.SHA256())
        (tmp_path / 'bare.pem').write_bytes(bare.public_bytes(pem.Encoding.PEM))

        with pytest.raises(ValueError, match=r'bare.pem cannot sign for C2PA: the certificate'):
            Signer(tmp_path / 'bare.pem', files.key)

    def test_a_time_stamp_server_that_is_not_there(self, files):
        with pytest.raises(ValueError, match=r'there is no time stamp from http://127.0.0.1:9/: .*error sending'):
            Signer(files.certificate, files.key, 'http://127.0.0.1:9/')

    def test_a_missing_library(self, files, monkeypatch):
        monkeypatch.setitem(sys.modules, 'c2pa', None)

        with pytest.raises(ImportError, match=r'C2PA needs c2pa-python: pip install "insta_colorization\[c2pa\]"'):
            Signer(files.certificate, files.key)


class TestOriginal:
    @pytest.fixture
    def path(self, tmp_path) -> Path:
        write_photo(PIXELS, tmp_path / 'a.png')
        return tmp_path / 'a.png'

    def test_is_the_file_that_was_read(self, path):
        assert original_of(read_photo(path), str(path), path) == Original('a.png', path.read_bytes())
        assert original_of(read_photo(path), 'http://host/a.png', None) == Original('a.png')

    def test_has_not_changed_meanwhile(self, path):
        photo = read_photo(path)
        path.write_bytes(path.read_bytes() + b'\0')

        with pytest.raises(ValueError, match=r'a.png has changed while it was coloured'):
            original_of(photo, str(path), path)

    def test_is_still_there(self, path):
        photo = read_photo(path)
        path.unlink()

        with pytest.raises(ValueError, match=r'a.png was gone before a manifest could name it: No such file'):
            original_of(photo, str(path), path)
