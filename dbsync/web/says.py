"""What is said to whoever asks: requests read as docs/reference/http.md has them, errors told as it has them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from dbsync.errors import (
    DbsyncError,
    Exhausted,
    FormatError,
    IdentityConflict,
    LinkHalted,
    NotAdmitted,
    PrivilegeError,
    Refusal,
    SchemaVersionError,
    Unreachable,
)
from dbsync.service.admission import NotYet
from dbsync.web.appliers import AGAIN
from dbsync.web.door import Said
from dbsync.web.uploads import Misplaced, TooLarge

BUG = 500
_TEXT = 200
"""Characters of anything that is asked for by name."""
_DIGITS = 19
"""Of 2**63."""


class Malformed(FormatError):
    """A request that says what no node of this version says."""


_ANSWERS: tuple[tuple[type[DbsyncError] | tuple[type[DbsyncError], ...], int, str], ...] = (
    (TooLarge, 413, "too_large"),
    (Misplaced, 409, "offset"),
    (Malformed, 400, "malformed"),
    (FormatError, 422, "format"),
    (NotAdmitted, 403, "not_yours"),
    (NotYet, 409, "early"),
    (IdentityConflict, 409, "conflict"),
    (LinkHalted, 409, "halted"),
    (Exhausted, 507, "exhausted"),
    ((Unreachable, Refusal, PrivilegeError, SchemaVersionError), 503, "busy"),
)
"""The status and the word of each kind of error, as docs/reference/http.md has them; the first that fits."""
_LATER = (503, 507)


def explained(error: DbsyncError) -> Said:
    """Say an error to a node."""
    status, name = next(((s, w) for kind, s, w in _ANSWERS if isinstance(error, kind)), (BUG, "bug"))
    body: dict[str, Any] = {"error": name, "what": error.what, "why": error.why, "hint": error.hint}
    if isinstance(error, LinkHalted):
        body["waits_for_row"] = error.waits_for_row
    return Said(status=status, body=body, headers={"retry-after": str(round(AGAIN))} if status in _LATER else {})


def hinted(error: DbsyncError) -> Said:
    """Say an error to somebody who is not let in yet: how the database behind this server is, is not for everybody."""
    if isinstance(error, (Malformed, NotAdmitted)):
        return explained(error)
    return explained(Unreachable("the database here is away or busy", hint="come again"))


def members(body: bytes, wanted: set[str]) -> Mapping[str, Any]:
    """Read an object of exactly these members."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or set(found) != wanted:
        raise Malformed(
            "the body is not what belongs here", where="request", why=f"it holds {', '.join(sorted(wanted))}"
        )
    return found


def word(said: Mapping[str, Any], name: str) -> str:
    """Read a short text."""
    found = said.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= _TEXT or not found.isprintable():
        raise Malformed(f"{name} is missing, or no text that belongs here", where="request")
    return found


def octets(said: Mapping[str, Any], name: str) -> bytes:
    """Read bytes that are written in base64."""
    try:
        return base64.b64decode(said.get(name, ""), validate=True)
    except (TypeError, ValueError):
        raise Malformed(f"{name} is not in base64", where="request") from None


def base64_text(data: bytes) -> str:
    """Write bytes in base64, as :func:`octets` reads them."""
    return base64.b64encode(data).decode("ascii")


def uuid(said: Mapping[str, Any], name: str) -> UUID:
    """Read a UUID."""
    try:
        return UUID(word(said, name))
    except ValueError:
        raise Malformed(f"{name} is no UUID", where="request") from None


def number(said: Mapping[str, Any], name: str) -> int:
    """Read a number that is not negative."""
    found = word(said, name)
    if not (found.isascii() and found.isdigit() and len(found) < _DIGITS):
        raise Malformed(f"{name} is no number", where="request")
    return int(found)
