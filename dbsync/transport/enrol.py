"""The first contact with an upstream: keys are exchanged for a code that a person carried. See docs/reference/http.md."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from dbsync.errors import DbsyncError, FormatError, Refusal
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.messages import Request, sign_request, verify_answer
from dbsync.identity.rotation import Succession
from dbsync.transport.answers import hearsay, members, plain
from dbsync.transport.exchange import JSON, their_time
from dbsync.transport.line import Came, Line
from dbsync.transport.trust import Trust

PATH = "/v1/enrol"
KEYS_PATH = "/v1/keys"
_NEW_CODE = "ask the upstream's operator for a new code: dbsync nodes invite NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """An upstream that took this node in."""

    name: str
    """What it calls itself."""
    keys: PublicKeys


def enrol(line: Line, keys: Keys, *, name: str, secret: bytes, head: bytes) -> Met:
    """Hand over the secret half of a code, sealed for the keys of its other half, and our keys; believe nobody else's answer.

    Raises Unreachable without a route, and Refusal where the code is not taken or somebody else answers.
    """
    theirs = _asked_keys(line, head)
    said = {
        "name": name,
        "code": base64.b64encode(theirs.seal(secret)).decode("ascii"),
        "signing": keys.public.signing,
        "sealing": keys.public.sealing,
    }
    body, to = orjson.dumps(said), head.hex().upper()
    came = _ask(line, keys, body, to, timedelta(0))
    there = their_time(came)
    if there is not None:
        came = _ask(line, keys, body, to, there - line.now())
    return _met(came, head, line.url)


def public_keys(url: str, *, silence: float, head: bytes) -> PublicKeys:
    """Ask whoever is there for his public keys, and believe them if they are those that a code stands for.

    Nothing secret is said, so that whoever else is there learns nothing.
    """
    with Line(url, silence=silence, trust=Trust(anybody=True)) as line:
        return _asked_keys(line, head)


def own_keys(line: Line) -> PublicKeys:
    """Ask whoever is there for his public keys. Nobody has proved anything: they are good for looking up who it may be."""
    came = line.send(Request(method="GET", url=f"{line.url}{KEYS_PATH}"), b"")
    found = _their_keys(members(came.body))
    if found is None:
        raise hearsay(came, line.url)
    return found


def own_successions(line: Line) -> list[Succession]:
    """Ask whoever is there which keys of before his own have taken the place of. Nothing of it is believed yet."""
    came = line.send(Request(method="GET", url=f"{line.url}{KEYS_PATH}/before"), b"")
    try:
        return [
            Succession(
                old=one["old"], signature=base64.b64decode(one["signature"]), proof=base64.b64decode(one["proof"])
            )
            for one in members(came.body)["successions"]
        ]
    except (KeyError, TypeError, ValueError):
        return []  # he is older than this


def _asked_keys(line: Line, head: bytes) -> PublicKeys:
    found = own_keys(line)
    _refuse_other(found, head, line.url)
    return found


def _ask(line: Line, keys: Keys, body: bytes, to: str, ahead: timedelta) -> Came:
    request = Request(method="POST", url=f"{line.url}{PATH}")
    request.headers["Content-Type"] = JSON
    sign_request(request, body, keys, to=to, at=line.now() + ahead)
    return line.send(request, body)


def _met(came: Came, head: bytes, where: str) -> Met:
    said = members(came.body)
    if came.answer.status_code != 200:  # noqa: PLR2004 - success, as the page says
        raise _refused(came, said, where)
    found = _their_keys(said)
    if found is None:
        raise hearsay(came, where)
    _refuse_other(found, head, where)
    try:
        verify_answer(came.answer, came.body, found)
    except FormatError:
        raise hearsay(came, where) from None
    return Met(name=plain(said, "name"), keys=found)


def _refuse_other(found: PublicKeys, head: bytes, where: str) -> None:
    if found.fingerprint[: len(head)] != head:
        raise Refusal(
            "somebody else answers at this address",
            where=where,
            why="its keys are not those that the code stands for: the code is another server's, or the line is tapped",
            hint=f"look at the address and the code; {_NEW_CODE}",
        )


def _their_keys(said: Mapping[str, Any]) -> PublicKeys | None:
    try:
        return PublicKeys(signing=said["signing"], sealing=said["sealing"])
    except (KeyError, TypeError, FormatError):
        return None


def _refused(came: Came, said: Mapping[str, Any], where: str) -> DbsyncError:
    """Say why the code was not taken. Nobody could sign that for us to believe, and nothing is lost by listening."""
    what = plain(said, "what")
    if not what or came.answer.status_code not in {400, 401, 403, 404, 409, 410}:
        return hearsay(came, where)
    return Refusal(what, where=where, why=plain(said, "why"), hint=plain(said, "hint") or _NEW_CODE)
