"""One signed request and its verified answer. See docs/reference/http.md."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from dbsync.errors import FormatError, Unreachable
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.identity.messages import Request, folded, sign_request, verify_answer
from dbsync.transport.answers import hearsay, members, refusal
from dbsync.transport.line import Came, Line

JSON = "application/json"


@dataclass(slots=True, kw_only=True)
class Exchange:
    """Asks one upstream, whose keys are pinned, and believes nobody else's answers.

    The upstream refuses what is not signed now, by its own clock. Where ours is wrong it says what time it is there, and
    everything after is signed by that time.
    """

    line: Line
    keys: Keys
    theirs: PublicKeys
    ahead: timedelta = field(default=timedelta(0), init=False)
    """How far the upstream's clock is ahead of ours, where ours was found too wrong to sign by."""

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        kind: str = JSON,
        patience: float | None = None,
    ) -> Mapping[str, Any]:
        """Ask, and give the JSON of the answer. Raises what stands in the way, or what the upstream says against it."""
        return members(self._answered(method, _address(path, query), body, kind, patience))

    def fetch(self, path: str, *, query: Mapping[str, str] | None = None) -> bytes:
        """Ask for something that is no JSON, and give its bytes. Raises as :meth:`ask` does."""
        return self._answered("GET", _address(path, query), b"", JSON, None)

    def signed(self, said: Mapping[str, Any]) -> Signed | None:
        """Read an answer that holds something signed: None where there is nothing yet. Nothing of it is believed yet."""
        if said.get("data") is None:
            return None
        try:
            return Signed(data=base64.b64decode(said["data"]), signature=base64.b64decode(said["signature"]))
        except (KeyError, TypeError, ValueError):
            raise Unreachable(
                "the answer makes no sense", where=self.line.url, why="it does not give what it signed"
            ) from None

    def _answered(self, method: str, address: str, body: bytes, kind: str, patience: float | None) -> bytes:
        url = self.line.url + address
        came = self._once(method, url, body, kind, patience)
        if self._set_clock(came):
            came = self._once(method, url, body, kind, patience)
        if not 200 <= came.answer.status_code < 300:  # noqa: PLR2004 - success, as HTTP has it
            raise refusal(came, self.line.url)
        return came.body

    def _once(self, method: str, url: str, body: bytes, kind: str, patience: float | None) -> Came:
        request = Request(method=method, url=url, headers=folded({"Content-Type": kind}))
        sign_request(request, body, self.keys, to=self.theirs.key_id, at=self.line.now() + self.ahead)
        came = self.line.send(request, body, patience=patience)
        try:
            verify_answer(came.answer, came.body, self.theirs)
        except FormatError:
            raise hearsay(came, self.line.url) from None
        return came

    def _set_clock(self, came: Came) -> bool:
        """Go on by the upstream's clock where it says that ours is wrong; say whether it did."""
        there = their_time(came)
        if there is None:
            return False
        self.ahead = there - self.line.now()
        return True


def _address(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def their_time(came: Came) -> datetime | None:
    """Give the time over there, from an answer that says our clock is wrong; None from any other."""
    said = members(came.body)
    if came.answer.status_code != 401 or said.get("error") != "clock":  # noqa: PLR2004 - as the page says
        return None
    return moment(said.get("now"))


def moment(value: object) -> datetime | None:
    """Read a time with its zone; None for anything else."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if found is None or found.tzinfo is None else found
