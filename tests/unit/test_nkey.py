"""What is signed for a broker can never be taken for anything else."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dbsync.errors import NotAdmitted
from dbsync.identity.keys import Keys
from dbsync.identity.nkey import answer, nkey


def test_a_key_is_written_in_the_form_of_a_user() -> None:
    """That nats-server reads it as this very key is held by every test over a broker."""
    written = nkey(Keys.generate().public)
    assert (len(written), written[0]) == (56, "U")


def test_a_nonce_is_signed_and_the_key_verifies_it() -> None:
    keys = Keys.generate()
    key = Ed25519PublicKey.from_public_bytes(keys.public.raw_signing_key)
    key.verify(base64.b64decode(answer("PXoWU7zWAMt75FY", keys)), b"PXoWU7zWAMt75FY")


@pytest.mark.parametrize(
    "asked",
    [
        "",
        hashlib.blake2b(b"a bundle").hexdigest()[:64],
        hashlib.blake2b(b"a bundle").digest().decode("latin-1"),
        '"@method": POST\n"@path": /v1/batches',
        "a" * 44,
        "a\n",
    ],
)
def test_whatever_is_no_nonce_is_not_signed(asked: str) -> None:
    with pytest.raises(NotAdmitted):
        answer(asked, Keys.generate())
