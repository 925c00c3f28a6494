"""Certificates and keys for tests of C2PA manifests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple


class Files(NamedTuple):
    """PEM files: a signer's certificate and that above it, its key, and the certificate above alone."""

    certificate: Path
    key: Path
    authority: Path


def made(folder: Path, key: Any = None, days: tuple[int, int] = (-1, 10)) -> Files:
    """Writes a chain of certificates for a key, valid between two days from now; by default on the curve P-256."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    authority = ec.generate_private_key(ec.SECP256R1())
    key = key or ec.generate_private_key(ec.SECP256R1())
    since, until = (datetime.now(UTC) + timedelta(each) for each in days)

    def name(text: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'Archive of tests'),
                x509.NameAttribute(NameOID.COMMON_NAME, text),
            ]
        )

    def certificate(subject: str, public: Any, signs: bool) -> bytes:
        others = dict.fromkeys(
            ('content_commitment', 'key_encipherment', 'data_encipherment', 'key_agreement', 'encipher_only'), False
        )
        usage = x509.KeyUsage(
            digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, decipher_only=False, **others
        )
        builder = (
            x509.CertificateBuilder(name('Authority'), name(subject), public, x509.random_serial_number(), since, until)
            .add_extension(x509.BasicConstraints(ca=signs, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        )
        if not signs:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        return builder.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM)

    files = Files(folder / 'chain.pem', folder / 'key.pem', folder / 'authority.pem')
    own, above = certificate('Signer', key.public_key(), False), certificate('Authority', authority.public_key(), True)
    files.certificate.write_bytes(own + above)
    files.authority.write_bytes(above)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files
