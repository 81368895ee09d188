"""What an answer that is no success means for a node: docs/reference/http.md as errors of dbsync's tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from dbsync.errors import (
    DbsyncError,
    Exhausted,
    IdentityConflict,
    Interrupted,
    LinkHalted,
    NotAdmitted,
    OtherVersion,
    Refusal,
    Unreachable,
)
from dbsync.transport.base import AGAIN
from dbsync.transport.line import Came
from dbsync.transport.trouble import LOG_IN

LONGEST_WAIT = 3600.0
"""Seconds: whoever asks for more is asked again all the same."""
_BUSY = frozenset({429, 502, 503, 504})
_LONGEST_TEXT = 500
_KINDS: Mapping[str, Callable[..., DbsyncError]] = {
    "malformed": Interrupted,
    "clock": Unreachable,
    "unknown": NotAdmitted,
    "revoked": NotAdmitted,
    "replayed": Interrupted,
    "not_yours": NotAdmitted,
    "conflict": IdentityConflict,
    "early": Refusal,
    "halted": LinkHalted,
    "offset": Interrupted,
    "too_large": LinkHalted,
    "format": LinkHalted,
    "busy": Unreachable,
    "exhausted": Exhausted,
}
_HINTS = {
    "clock": "set the clock that is wrong, this computer's or the server's; then type the same again",
    **dict.fromkeys(("busy", "exhausted", "malformed", "replayed", "offset"), AGAIN),
}
_ASK = "ask the upstream's operator: dbsync nodes list   (shows whom it knows)"


def members(body: bytes) -> Mapping[str, Any]:
    """Read a body that should be a JSON object; an empty one for anything else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def refusal(came: Came, where: str) -> DbsyncError:
    """Say what the upstream itself answered."""
    said = members(came.body)
    word = said.get("error")
    kind = _KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        return _other(came, where)
    error = kind(
        plain(said, "what") or f"the upstream answers: {word}",
        where=where,
        why=plain(said, "why"),
        hint=plain(said, "hint") or _HINTS.get(word or "") or (_ASK if kind is NotAdmitted else ""),
    )
    if isinstance(error, NotAdmitted):
        error.revoked = word == "revoked"
    if isinstance(error, LinkHalted):
        error.waits_for_row = said.get("waits_for_row") is True
    return _with_pause(error, came)


def hearsay(came: Came, where: str) -> DbsyncError:
    """Say an answer that the upstream did not sign: from a proxy before it, from one that knows us not, from a stranger."""
    status = came.answer.status_code
    if status in _BUSY:
        return _with_pause(
            Unreachable("the server is busy or away", where=where, why=f"status {status}", hint=AGAIN), came
        )
    if status == 401 and members(came.body).get("error") in {"unknown", "revoked"}:  # noqa: PLR2004 - as the page says
        return NotAdmitted(
            "the upstream does not know this node's key",
            where=where,
            why="it was revoked, or this node's keys or the upstream's are new",
            hint=_ASK,
        )
    if status in {404, 405}:
        return Unreachable(
            "no dbsync of this version answers there",
            where=where,
            why=f"status {status}",
            hint="look at upstream.url; dbsync of both ends may have to be of one version",
        )
    if "signature" in came.answer.headers:
        return Unreachable(
            "the answer is not signed with the upstream's key",
            where=where,
            why="it was changed on the way, or the upstream has new keys",
            hint="where its operator says so: dbsync enrol URL CODE, with a new code",
        )
    return Unreachable(
        "somebody else answers in the upstream's place",
        where=where,
        why=f"{LOG_IN} (status {status})",
        hint=AGAIN,
    )


def _other(came: Came, where: str) -> DbsyncError:
    status = came.answer.status_code
    if status in {404, 405}:
        return OtherVersion(
            "the upstream's dbsync is of another version", where=where, why=f"status {status}", hint="upgrade the older"
        )
    return _with_pause(
        Unreachable("the upstream cannot answer now", where=where, why=f"status {status}", hint=AGAIN), came
    )


def _with_pause(error: DbsyncError, came: Came) -> DbsyncError:
    """Take along how long the other side wants to be left alone; a date in its place means a minute."""
    asked = came.answer.headers.get("retry-after")
    if asked is not None and isinstance(error, Unreachable):
        error.after = min(float(asked) if asked.isascii() and asked.isdigit() else 60.0, LONGEST_WAIT)
    return error


def plain(said: Mapping[str, Any], name: str) -> str:
    """Take a text for a terminal: what comes from elsewhere may hold anything."""
    found = said.get(name)
    return "".join(c for c in found[:_LONGEST_TEXT] if c.isprintable()) if isinstance(found, str) else ""
