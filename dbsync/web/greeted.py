"""A greeting as it comes over HTTP. See docs/reference/http.md."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dbsync.model.greeting import Carried, Greeting
from dbsync.transport.exchange import moment
from dbsync.web.says import Malformed, members, word

MEMBERS = {"program", "schema", "clock_off", "pending", "exact", "oldest", "carried"}
RELAYS = 20
"""Drivers that one node names at most."""
_MOST = 2**53
"""JSON's whole numbers are sure up to here."""
_LONGEST = 1e11
"""Seconds: three thousand years."""


def read(body: bytes) -> Greeting:
    """Read one. Raises Malformed for what is none."""
    said = members(body, MEMBERS)
    off, exact, carried = said["clock_off"], said["exact"], said["carried"]
    if off is not None and (type(off) not in (int, float) or not -_LONGEST < off < _LONGEST):
        raise Malformed("clock_off is no number of seconds", where="request")
    if type(exact) is not bool:
        raise Malformed("exact is neither true nor false", where="request")
    if not isinstance(carried, list) or len(carried) > RELAYS:
        raise Malformed("carried is no list that belongs here", where="request")
    return Greeting(
        program=word(said, "program"),
        schema=word(said, "schema"),
        clock_off=None if off is None else float(off),
        pending=_count(said, "pending"),
        exact=exact,
        oldest=None if said["oldest"] is None else _moment(said, "oldest"),
        carried=tuple(_carried(one) for one in carried),
    )


def _carried(said: object) -> Carried:
    if not isinstance(said, dict) or set(said) != {"relay", "changes", "since"}:
        raise Malformed("carried holds something else", where="request")
    return Carried(relay=word(said, "relay"), changes=_count(said, "changes"), since=_moment(said, "since"))


def _count(said: Mapping[str, Any], name: str) -> int:
    found = said[name]
    if type(found) is not int or not 0 <= found <= _MOST:
        raise Malformed(f"{name} is no number of changes", where="request")
    return found


def _moment(said: Mapping[str, Any], name: str) -> datetime:
    found = moment(said[name])
    if found is None:
        raise Malformed(f"{name} is no time", where="request")
    return found
