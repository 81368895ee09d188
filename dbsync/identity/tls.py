"""TLS between two who know each other's keys, without an authority: a server's own key signs its certificate.

Who comes makes the other end of that chain himself, of the key that is pinned: a root whose public key it is. OpenSSL then
checks the certificate as any other. Nothing has to be given to anybody, and nothing runs out: a certificate is made anew at
each start, and its dates say nothing, for the clocks of laptops are wrong by years. Names are not looked at: who is there is
told by his key.
"""

from __future__ import annotations

import ssl
import tempfile
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from dbsync.identity.keys import Keys, PublicKeys

_ALWAYS = (datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59))
_PEM = serialization.Encoding.PEM


def serving(keys: Keys) -> ssl.SSLContext:
    """Make what a server needs: a certificate of now, whose secret key is in no file that stays."""
    secret = ec.generate_private_key(ec.SECP256R1())
    made = _begun(_name("dbsync"), keys.public, ca=False).public_key(secret.public_key())
    certificate = made.sign(Ed25519PrivateKey.from_private_bytes(keys.seed), None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with tempfile.TemporaryDirectory(prefix="dbsync-") as room:
        path = Path(room) / "certificate.pem"
        form = (_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(certificate.public_bytes(_PEM) + secret.private_bytes(*form))
        context.load_cert_chain(path)
    return context


def knowing(theirs: PublicKeys) -> ssl.SSLContext:
    """Make what believes a server whose certificate these keys signed, and nobody else."""
    public = Ed25519PublicKey.from_public_bytes(theirs.raw_signing_key)
    made = _begun(_issuer(theirs), theirs, ca=True).public_key(public)
    root = made.sign(Ed25519PrivateKey.generate(), None)  # nobody checks how a root is signed that he was given
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.load_verify_locations(cadata=root.public_bytes(_PEM).decode("ascii"))
    return context


def believing_anybody() -> ssl.SSLContext:
    """Make what believes every server: to ask for what is public, and is checked by other means."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _begun(subject: x509.Name, issuer: PublicKeys, *, ca: bool) -> x509.CertificateBuilder:
    since, until = _ALWAYS
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_issuer(issuer))
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
    )


def _issuer(keys: PublicKeys) -> x509.Name:
    return _name(f"dbsync {keys.key_id}")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
