"""The door: who asks, whether it is he and now, and that the answer is ours. See docs/reference/http.md."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson
import psycopg
import structlog
from http_message_signatures import HTTPMessageSignaturesException

from dbsync import __version__
from dbsync.errors import FormatError
from dbsync.identity import registry
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.identity.messages import Answer, Request, Stale, sign_answer, verify_request
from dbsync.identity.registry import Peer, Role, readmission

_KEY_ID = 16
"""Characters of a key's name; whoever names one by more is a stranger."""
_NONCE = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is answered."""

    status: int
    body: Mapping[str, Any] | None = None
    raw: bytes = b""
    """What is answered without a body in JSON; its kind stands in the headers."""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> bytes:
        """Give the body as it is sent."""
        return self.raw if self.body is None else orjson.dumps(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request by somebody who is known, and that is his."""

    peer: Peer
    method: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


def problem(status: int, error: str, what: str, *, why: str = "", hint: str = "", **more: object) -> Said:
    """Say an error."""
    return Said(status=status, body={"error": error, "what": what, "why": why, "hint": hint, **more})


def about(visit: Visit) -> Said:
    """Say which program answers, and which database it takes whoever asks for; None before the first batch."""
    lineage = visit.peer.lineage
    return Said(status=200, body={"program": __version__, "lineage": None if lineage is None else str(lineage)})


def paper(signed: Signed | None) -> Said:
    """Hand out something signed, or say that there is nothing yet."""
    if signed is None:
        return Said(status=200, body={"data": None})
    both = {"data": signed.data, "signature": signed.signature}
    return Said(status=200, body={name: base64.b64encode(value).decode("ascii") for name, value in both.items()})


class Register(Protocol):
    """Who is known, and what was asked before."""

    def of_key(self, key_id: str) -> Peer | None:
        """Give whose key it is; also somebody who is revoked, for the caller to tell him so."""

    def first_use(self, key_id: str, nonce: str) -> bool:
        """Use up a request's nonce; False when that was done before."""

    def note_seen(self, name: str) -> None:
        """Note that somebody spoke just now."""


@dataclass(frozen=True, slots=True)
class Registered:
    """Who is known by a node's database. The connection is in autocommit."""

    connection: psycopg.Connection

    def of_key(self, key_id: str) -> Peer | None:
        """Give whose key it is."""
        return registry.peer_of_key(self.connection, key_id)

    def first_use(self, key_id: str, nonce: str) -> bool:
        """Use up a request's nonce."""
        return registry.first_use(self.connection, key_id, nonce)

    def note_seen(self, name: str) -> None:
        """Note that somebody spoke just now."""
        registry.note_seen(self.connection, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Lets in whoever signed his request, and signs what he is told."""

    keys: Keys
    remedy: str = "dbsync nodes invite NAME"
    """What a stranger is told to have typed."""

    def signed(self, request: Request, said: Said) -> Mapping[str, str]:
        """Sign an answer; give all its headers. One to a request that is not signed as ours are stays unsigned."""
        answer = Answer(status_code=said.status, request=request)
        answer.headers.update({"content-type": "application/json", **said.headers})
        with suppress(HTTPMessageSignaturesException):
            sign_answer(answer, said.bytes, self.keys, at=datetime.now(UTC))
        return dict(answer.headers.items())

    def check(self, register: Register, request: Request, body: bytes) -> Peer | Said:
        """Say who asks, or what is answered to somebody who is not let in."""
        named: list[str] = []
        found: dict[str, Peer] = {}

        def known(key_id: str) -> PublicKeys | None:
            named.append(key_id)
            peer = register.of_key(key_id)
            if peer is None or peer.role is Role.UPSTREAM:
                return None
            found[key_id] = peer
            return peer.keys

        answer = self._checked(register, request, body, known, found)
        if isinstance(answer, Said):
            node = next((peer.name for peer in found.values()), None)
            reason = (answer.body or {}).get("error")
            log.warning("request_refused", node=node, key=[name[:_KEY_ID] for name in named], reason=reason)
        return answer

    def _checked(
        self,
        register: Register,
        request: Request,
        body: bytes,
        known: Callable[[str], PublicKeys | None],
        found: Mapping[str, Peer],
    ) -> Peer | Said:
        now = datetime.now(UTC)
        try:
            sender = verify_request(request, body, known, own=self.keys.public.key_id, now=now)
        except Stale as error:
            return problem(401, "clock", error.what, why=error.why, now=now.isoformat())
        except FormatError as error:
            if found:
                return problem(400, "malformed", error.what, why=error.why)
            return problem(401, "unknown", "this key is not known here", hint=self.remedy)
        if len(sender.nonce) > _NONCE:
            return problem(400, "malformed", "the nonce is too long")
        peer = found[sender.key_id]
        if not register.first_use(sender.key_id, sender.nonce):
            return problem(401, "replayed", "this request was answered before")
        register.note_seen(peer.name)
        return peer if peer.revoked_at is None else _revoked(peer)


def _revoked(peer: Peer) -> Said:
    return problem(
        401,
        "revoked",
        f"{peer.name} is revoked here",
        why=peer.revoked_why or "",
        hint=readmission(peer.name)
        if peer.role is Role.NODE
        else f"ask the upstream's operator: dbsync nodes invite {peer.name} --relay",
    )
