"""The relay's ASGI application: what laptops on the local network reach. See docs/reference/http.md."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

import orjson
import structlog
from anyio import fail_after
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Asked
from starlette.responses import Response
from starlette.routing import Route

from dbsync.bundle.names import BundleName, read_name
from dbsync.errors import DbsyncError, Exhausted, FormatError, NotAdmitted, Refusal
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.messages import Request, Stale, verify_request
from dbsync.relay.records import Peer, Records
from dbsync.relay.spool import Misplaced, Spool
from dbsync.web.app import BUG, SMALL, VERSION, place_of, read_request
from dbsync.web.door import Door, Said, paper, problem
from dbsync.web.nodes import PART, Malformed, explained

log = structlog.get_logger()

Handler = Callable[[Asked], Awaitable[Response]]
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request by a node that is known, and that is its own."""

    peer: Peer
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@dataclass(kw_only=True)
class House:
    """What laptops reach: they hand over bundles, and take receipts home."""

    name: str
    keys: Keys
    records: Records
    spool: Spool
    silence: float

    def app(self) -> Starlette:
        """Give the application."""
        return Starlette(
            routes=[
                Route("/v1/health", self._health),
                Route("/v1/enrol", self._enrol, methods=["POST"]),
                Route("/v1/time", self._signed(self.time)),
                Route("/v1/bundles", self._signed(self.held)),
                Route("/v1/bundles/{file}", self._signed(self.kept), methods=["GET"]),
                Route("/v1/bundles/{file}", self._signed(self.part, PART), methods=["PATCH"]),
                Route("/v1/bundles/{file}", self._signed(self.forget), methods=["DELETE"]),
                Route("/v1/bundles/{file}", self._signed(self.finish), methods=["PUT"]),
                Route("/v1/bundles/{node}/receipts", self._signed(self.receipts)),
            ],
            exception_handlers={HTTPException: self._no_such},
        )

    # What is answered.

    def time(self, _visit: Visit) -> Said:
        """Tell the time."""
        return Said(status=200, body={"now": _now()})

    def held(self, visit: Visit) -> Said:
        """Say which bundles of a node are in custody."""
        return Said(status=200, body={"held": [one.name.file() for one in self.records.held(visit.peer.name)]})

    def kept(self, visit: Visit) -> Said:
        """Say how much of a bundle is here."""
        size, digest = self.spool.kept(_own(visit))
        return Said(status=200, body={"offset": size, "hash": digest})

    def forget(self, visit: Visit) -> Said:
        """Forget what is here of a bundle."""
        self.spool.forget(_own(visit))
        return Said(status=200, body={})

    def part(self, visit: Visit) -> Said:
        """Take a part of a bundle."""
        place = visit.query.get("offset", "")
        if not (place.isascii() and place.isdigit() and len(place) < 19):  # noqa: PLR2004 - digits of 2**63
            raise Malformed("offset is no number", where="request")
        return Said(status=200, body={"offset": self.spool.add(_own(visit), int(place), visit.body)})

    def finish(self, visit: Visit) -> Said:
        """Take a bundle into custody, and give the note of it."""
        name = _own(visit)
        assert visit.peer.keys is not None
        note = self.spool.finish(name, visit.body, visit.peer.keys)
        log.info("custody_taken", node=name.node, bundle=name.file())
        return paper(note)

    def receipts(self, visit: Visit) -> Said:
        """Give a node its receipts."""
        if visit.path["node"] != visit.peer.name:
            raise NotAdmitted("a node takes its own receipts only", where=visit.peer.name)
        found = self.records.receipts(visit.peer.name)
        return paper(found)

    # How.

    def _signed(self, answer: Callable[[Visit], Said], largest: int = SMALL) -> Handler:
        async def handle(asked: Asked) -> Response:
            request, body = read_request(asked), await self._body(asked, largest)
            if isinstance(body, Said):
                return self._sealed(request, body)
            return await run_sync(self._greet, asked, request, body, answer)

        return handle

    def _greet(self, asked: Asked, request: Request, body: bytes, answer: Callable[[Visit], Said]) -> Response:
        found = self._safely(lambda: self._checked(request, body))
        if isinstance(found, Said):
            return self._sealed(request, found)
        visit = Visit(peer=found, path=dict(asked.path_params), query=dict(asked.query_params), body=body)
        return self._sealed(request, self._safely(lambda: answer(visit), node=found.name))

    def _checked(self, request: Request, body: bytes) -> Peer | Said:
        found: dict[str, Peer] = {}

        def known(key_id: str) -> PublicKeys | None:
            peer = self.records.node_of_key(key_id)
            if peer is None:
                return None
            found[key_id] = peer
            return peer.keys

        try:
            sender = verify_request(request, body, known, own=self.keys.public.key_id, now=datetime.now(UTC))
        except Stale as error:
            return problem(401, "clock", error.what, why=error.why, now=_now())
        except FormatError as error:
            if found:
                return problem(400, "malformed", error.what, why=error.why)
            return problem(401, "unknown", "this key is not known here", hint="dbsync relay invite NAME")
        peer = found[sender.key_id]
        if not self.records.first_use(sender.key_id, sender.nonce):
            return problem(401, "replayed", "this request was answered before")
        if peer.revoked_at is not None:
            return problem(401, "revoked", f"{peer.name} was revoked", why=peer.revoked_why or "")
        self.records.note_seen(peer.name)
        return peer

    async def _body(self, asked: Asked, largest: int) -> bytes | Said:
        body, stream = bytearray(), asked.stream()
        try:
            while len(body) <= largest:
                with fail_after(self.silence):
                    chunk = await anext(stream, None)
                if chunk is None:
                    return bytes(body)
                body += chunk
        except (ClientDisconnect, TimeoutError):
            return problem(400, "malformed", "the request did not come to its end")
        return problem(413, "too_large", "the request is too large", why=f"{largest:,} bytes are taken")

    async def _enrol(self, asked: Asked) -> Response:
        request, body = read_request(asked), await self._body(asked, SMALL)
        if isinstance(body, Said):
            return _response(body)
        return await run_sync(self._let_in, request, body)

    def _let_in(self, request: Request, body: bytes) -> Response:
        try:
            said = orjson.loads(body)
            name, secret = str(said["name"]), base64.b32decode(said["code"])
            keys = PublicKeys(signing=said["signing"], sealing=said["sealing"])
            own = self.keys.public.fingerprint[:10].hex().upper()
            now = datetime.now(UTC)
            verify_request(request, body, lambda key: keys if key == keys.key_id else None, own=own, now=now)
        except Stale as error:
            return _response(problem(401, "clock", error.what, why=error.why, now=_now()))
        except FormatError:
            return _response(problem(403, "not_yours", "the code is mistyped, or another relay's"))
        except (ValueError, KeyError, TypeError):
            return _response(problem(400, "malformed", "the body is not what belongs here"))
        return self._sealed(request, self._safely(lambda: self._take_in(name, secret, keys), node=name))

    def _take_in(self, name: str, secret: bytes, keys: PublicKeys) -> Said:
        self.records.enrol(name, secret, keys)
        log.info("node_enrolled", node=name, key=keys.key_id)
        own = self.keys.public
        return Said(status=200, body={"name": self.name, "signing": own.signing, "sealing": own.sealing})

    async def _health(self, _asked: Asked) -> Response:
        return _response(Said(status=200, body={"status": "ok", "version": VERSION}))

    async def _no_such(self, asked: Asked, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = problem(error.status_code, "path", "there is no such thing here", why=f"version {VERSION} is spoken")
        return self._sealed(read_request(asked), replace(said, headers=dict(error.headers or {})))

    def _sealed(self, request: Request, said: Said) -> Response:
        return Response(said.bytes, said.status, dict(Door(keys=self.keys).signed(request, said)))

    def _safely(self, answer: Callable[[], Found], *, node: str | None = None) -> Found | Said:
        try:
            return answer()
        except DbsyncError as error:
            log.warning("request_refused", node=node, reason=str(error))
            return _explained(error)
        except Exception as error:  # the last edge
            log.error("request_failed", node=node, error=type(error).__name__, place=place_of(error))
            return problem(BUG, "bug", "a bug in the relay's dbsync", why=type(error).__name__)


def _own(visit: Visit) -> BundleName:
    found = read_name(visit.path["file"])
    if found is None or found[1]:
        raise Malformed("that is no bundle's name", where="request")
    if found[0].node != visit.peer.name:
        raise NotAdmitted("a node brings its own bundles only", where=visit.peer.name)
    return found[0]


def _explained(error: DbsyncError) -> Said:
    if isinstance(error, Misplaced):
        return problem(409, "offset", error.what, why=error.why, hint=error.hint)
    if isinstance(error, Exhausted):
        return problem(507, "exhausted", error.what, why=error.why, hint=error.hint)
    if isinstance(error, Refusal) and not isinstance(error, NotAdmitted):
        return problem(422, "format", error.what, why=error.why, hint=error.hint)
    return explained(error)


def _response(said: Said) -> Response:
    return Response(said.bytes, said.status, {"content-type": "application/json", **said.headers})


def _now() -> str:
    return datetime.now(UTC).isoformat()
