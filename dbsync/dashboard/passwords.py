"""Passwords: kept as argon2id (RFC 9106), and compared one at a time, for each comparison takes 64 MB on purpose."""

from __future__ import annotations

import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from dbsync.errors import UsageError

SHORTEST = 12
"""Characters, as NIST SP 800-63B asks of one that stands alone."""
LONGEST = 1000
"""Characters; more than that is read by nobody."""

_hasher = PasswordHasher()
_turn = threading.Lock()


def hashed(password: str) -> str:
    """Hash a new password. Raises UsageError for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(
            f"a password has {SHORTEST} characters at least, and {LONGEST:,} at most",
            hint="a few words in a row are long, and easy to keep",
        )
    return _hasher.hash(_normal(password))


def fits(kept: str | None, password: str) -> bool:
    """Say whether it is the password that is kept. Where nobody is known, the answer takes as long."""
    with _turn:
        try:
            _hasher.verify(kept or _nobodys(), _normal(password[:LONGEST]))
        except VerifyMismatchError:
            return False
    return kept is not None


def _normal(password: str) -> str:
    """Write it in one way, whichever way a keyboard writes an accent."""
    return unicodedata.normalize("NFKC", password)


@cache
def _nobodys() -> str:
    return _hasher.hash("")
