"""Certificates for a server of this computer, by an authority of our own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
_LONG = 400 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The files of a server's certificate and of its key."""

    certificate: Path
    key: Path


class Authority:
    """Makes certificates for 127.0.0.1; :attr:`file` is its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._numbers = count(1)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority")
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        made = self._begun(self._key.public_key(), self._name, -_LONG, _LONG).add_extension(constraints, critical=True)
        self.file = self._write("ca.pem", made.add_extension(_usage(signs=True), critical=True))

    def certificate(self, since: timedelta = -DAY, until: timedelta = DAY) -> Certificate:
        """Make one that is valid between two moments around now."""
        key = ec.generate_private_key(ec.SECP256R1())
        here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = (
            self._begun(key.public_key(), _name("127.0.0.1"), since, until)
            .add_extension(here, critical=False)
            .add_extension(by, critical=False)
            .add_extension(_usage(signs=False), critical=True)
        )
        number = next(self._numbers)
        found = Certificate(
            certificate=self._write(f"server-{number}.pem", made), key=self._folder / f"server-{number}.key"
        )
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        found.key.write_bytes(key.private_bytes(*form))
        return found

    def _begun(
        self, key: ec.EllipticCurvePublicKey, name: x509.Name, since: timedelta, until: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(next(self._numbers))
            .not_valid_before(now + since)
            .not_valid_after(now + until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )

    def _write(self, name: str, made: x509.CertificateBuilder) -> Path:
        path = self._folder / name
        path.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
