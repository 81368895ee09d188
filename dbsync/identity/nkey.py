"""A node's signing key as NATS names it. A broker lets a node in by the key it has already: no other secret is handed out. Pure."""

from __future__ import annotations

import base64
import binascii
import re

from dbsync.errors import NotAdmitted
from dbsync.identity.keys import Keys, PublicKeys

_USER = 20 << 3
"""The first byte of a user's key: it makes the written form begin with U."""
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,43}")


def nkey(keys: PublicKeys) -> str:
    """Write a node's public signing key as NATS does: 56 letters and digits, the first of them U.

    Both are Ed25519 (RFC 8032); NATS puts a byte before the key, a CRC-16 behind it, and writes it in base 32.
    """
    data = bytes([_USER]) + keys.raw_signing_key
    return base64.b32encode(data + binascii.crc_hqx(data, 0).to_bytes(2, "little")).decode("ascii").rstrip("=")


def answer(nonce: str, keys: Keys) -> bytes:
    """Sign what a broker gives out to tell who comes, in base64 as it wants it. Raises NotAdmitted for anything but a nonce.

    The broker chooses what is signed here, and the same key signs bundles and papers. So nothing is signed that could ever be
    taken for one: a nonce is at most 43 letters and digits, while minisign signs a digest of 64 bytes, and a request's signature
    is over lines with quotes in them.
    """
    if not _NONCE.fullmatch(nonce):
        raise NotAdmitted(
            "the broker asks for a signature over something that is no nonce",
            where="broker",
            why="our key signs nothing that others could use",
            hint="dbsync check   (and ask who runs the broker)",
        )
    return base64.b64encode(keys.sign_raw(nonce.encode("ascii")))
