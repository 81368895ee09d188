"""The code of an invitation: a secret for one use and the head of the upstream's fingerprint, to be typed by hand. Pure.

32 characters of base32 (RFC 4648), in groups of four: 10 bytes of secret, 10 of fingerprint. Whoever brings the secret
is who was invited, and whoever answers with the fingerprint is who invited.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from dbsync.errors import UsageError

HALF = 10
_GROUP = 4
_LENGTH = 32
_NOISE = re.compile(r"[\s\-._]+")
_MEANT = str.maketrans({"0": "O", "1": "I", "8": "B"})
"""Digits that base32 has not, and the letters they were read from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What a code says."""

    secret: bytes
    fingerprint_head: bytes
    """The first 10 bytes of the upstream's."""


def write_code(secret: bytes, fingerprint: bytes) -> str:
    """Write a code.

    >>> write_code(bytes(range(10)), bytes(range(100, 120)))
    'AAAQ-EAYE-AUDA-OCAJ-MRSW-MZ3I-NFVG-W3DN'
    """
    text = base64.b32encode(secret + fingerprint[:HALF]).decode("ascii")
    return "-".join(text[place : place + _GROUP] for place in range(0, _LENGTH, _GROUP))


def read_code(text: str) -> Invitation:
    """Read a code as people type it; raises UsageError for one that is none.

    >>> read_code("aaaq eaye auda 0caj-mrswmz3infvgw3dn").secret == bytes(range(10))
    True
    """
    letters = _NOISE.sub("", text).upper().translate(_MEANT)
    try:
        found = base64.b32decode(letters)
    except ValueError:
        found = b""
    if len(found) != 2 * HALF:
        raise UsageError(
            "this is no code of an invitation",
            why=f"a code has {_LENGTH} letters and digits, this one {len(letters)}"
            if len(letters) != _LENGTH
            else "it has a sign that no code has",
            hint="type it as dbsync nodes invite printed it, in groups of four",
        )
    return Invitation(secret=found[:HALF], fingerprint_head=found[HALF:])
