"""The edge of a server: bytes in, bytes out. Everything behind it is synchronous, in threads, and answers with :class:`Said`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar, assert_never

import structlog
from anyio import CapacityLimiter, current_time, fail_after
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Asked
from starlette.responses import Response
from starlette.routing import Route

from dbsync.errors import DbsyncError, FormatError, place_of
from dbsync.identity.code import HALF
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.messages import Request, Stale, verify_request
from dbsync.identity.registry import Peer
from dbsync.identity.rotation import verify_proof
from dbsync.tally import count_request
from dbsync.web.door import Door, Said, Visit, problem
from dbsync.web.operations import OWN_KEYS, SMALL, Access, Operation
from dbsync.web.patience import allowed
from dbsync.web.says import BUG, Malformed, explained, hinted, members, octets, word

VERSION = 1

log = structlog.get_logger()

Found = TypeVar("Found")
Answer = Callable[[Visit], Said]
Handler = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """Somebody who wants to be let in, by the secret half of a code."""

    name: str
    secret: bytes
    keys: PublicKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Lets in whoever signed his request, and signs every answer; a bug behind it is an answer too."""

    door: Door
    silence: float
    """Seconds in which more of a request has to come."""
    threads: CapacityLimiter
    check: Callable[[Request, bytes], Peer | Said]
    """Says who asks, or what is answered to somebody who is not let in."""
    alive: Callable[[], None]
    """Raises where nothing could be answered now."""
    enrol: Callable[[Newcomer], Said] | None = None
    """Lets a newcomer in whose request was signed with the keys he brings; None where no operation is for newcomers."""
    public: Mapping[str, Said] = field(default_factory=dict)
    """What anybody is answered, by operation, beside how this server is and which keys it has."""

    def app(self, operations: Sequence[Operation], answers: Mapping[str, Answer]) -> Starlette:
        """Give an application of these operations, each answered by the one of its name."""
        routes = [
            Route(operation.path, _counted(operation, self._handler(operation, answers)), methods=[operation.method])
            for operation in operations
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: self._no_such})

    def _handler(self, operation: Operation, answers: Mapping[str, Answer]) -> Handler:
        match operation.access:
            case Access.ANYBODY:
                return self._open(partial(self._for_anybody, operation.name))
            case Access.NEWCOMER:
                return self.newcomer
            case Access.KNOWN:
                return self._signed(answers[operation.name], operation.largest)
            case never:
                assert_never(never)

    def _signed(self, answer: Answer, largest: int) -> Handler:
        """Make the handler of requests that are signed."""

        async def handle(asked: Asked) -> Response:
            request, body = _request(asked), await self._body(asked, largest)
            if isinstance(body, Said):
                return self._sealed(request, body)
            return await run_sync(self._greet, asked, request, body, answer, limiter=self.threads)

        return handle

    async def newcomer(self, asked: Asked) -> Response:
        """Handle a request to be let in."""
        request, body = _request(asked), await self._body(asked, SMALL)
        if isinstance(body, Said):
            return _response(body)
        return await run_sync(self._let_in, request, body, limiter=self.threads)

    def _open(self, answer: Callable[[], Response]) -> Handler:
        """Make the handler of what anybody may ask; nobody could check a signature there."""

        async def handle(_asked: Asked) -> Response:
            return await run_sync(answer, limiter=self.threads)

        return handle

    def _greet(self, asked: Asked, request: Request, body: bytes, answer: Answer) -> Response:
        found = self._safely(lambda: self.check(request, body), hinted)
        if isinstance(found, Said):
            return self._sealed(request, found)
        visit = Visit(
            peer=found,
            method=asked.method,
            path=dict(asked.path_params),
            query=dict(asked.query_params),
            body=body,
        )
        return self._sealed(request, self._safely(lambda: answer(visit), explained, node=found.name))

    def _let_in(self, request: Request, body: bytes) -> Response:
        """Check a request by the very keys it brings; they prove only that whoever brings them has their secret half."""
        own = self.door.keys.public.fingerprint[:HALF].hex().upper()
        try:
            newcomer = _read_newcomer(body, self.door.keys)
            keys = newcomer.keys
            known = {keys.key_id: keys}
            verify_request(request, body, known.get, own=own, now=datetime.now(UTC))
        except Stale as error:
            return _response(problem(401, "clock", error.what, why=error.why, now=_now()))
        except Malformed as error:
            return _response(explained(error))
        except FormatError:
            hint = "look at the code and the address; or ask for a new code: dbsync nodes invite NAME"
            return _response(problem(403, "not_yours", "the code is mistyped, or another server's", hint=hint))
        assert self.enrol is not None, "there is an operation for newcomers"
        enrol = self.enrol
        return self._sealed(request, self._safely(lambda: enrol(newcomer), hinted))

    def _for_anybody(self, asks: str) -> Response:
        if asks in self.public:
            return _response(self.public[asks])
        return self._own_keys() if asks == OWN_KEYS.name else self._look()

    def _own_keys(self) -> Response:
        keys = self.door.keys.public
        return _response(Said(status=200, body={"signing": keys.signing, "sealing": keys.sealing}))

    def _look(self) -> Response:
        """Say whether requests can be answered."""

        def look() -> Said:
            self.alive()
            return Said(status=200, body={"status": "ok", "version": VERSION})

        return _response(self._safely(look, hinted))

    async def _body(self, asked: Asked, largest: int) -> bytes | Said:
        """Read a request's body, and no more of it than belongs there, from somebody who does send it."""
        too_large = problem(413, "too_large", "the request is too large", why=f"{largest:,} bytes are taken")
        if int(asked.headers.get("content-length", "0") or 0) > largest:
            return too_large
        body, stream, begun = bytearray(), asked.stream(), current_time()
        try:
            while len(body) <= largest:
                left = begun + allowed(self.silence, len(body)) - current_time()
                with fail_after(min(self.silence, left)):
                    chunk = await anext(stream, None)
                if chunk is None:
                    return bytes(body)
                body += chunk
        except (ClientDisconnect, TimeoutError):
            return problem(400, "malformed", "the request did not come to its end")
        return too_large

    async def _no_such(self, asked: Asked, error: Exception) -> Response:
        """Answer what is no path or method of this version."""
        assert isinstance(error, HTTPException)
        said = problem(error.status_code, "path", "there is no such thing here", why=f"version {VERSION} is spoken")
        count_request("none", error.status_code)
        return self._sealed(_request(asked), replace(said, headers=dict(error.headers or {})))

    def _sealed(self, request: Request, said: Said) -> Response:
        return Response(said.bytes, said.status, dict(self.door.signed(request, said)))

    def _safely(
        self, answer: Callable[[], Found], told: Callable[[DbsyncError], Said], *, node: str | None = None
    ) -> Found | Said:
        """Turn whatever goes wrong into an answer; a bug is logged by its place, for its words may hold a row's values."""
        try:
            return answer()
        except DbsyncError as error:
            said = told(error)
            if said.status == BUG:
                log.error("request_failed", node=node, error=str(error))
            else:
                log.warning("request_refused", node=node, reason=str(error))
            return said
        except Exception as error:  # the last edge
            log.error("request_failed", node=node, error=type(error).__name__, place=place_of(error))
            return problem(BUG, "bug", "a bug in this server's dbsync", why=type(error).__name__)


def _counted(operation: Operation, handler: Handler) -> Handler:
    """Count what a handler answers."""

    async def handle(asked: Asked) -> Response:
        response = await handler(asked)
        count_request(operation.name, response.status_code)
        return response

    return handle


def rotation_of(visit: Visit) -> PublicKeys:
    """Read the keys that a node wants to have from now on; it must prove that they are its own. Raises FormatError."""
    said = members(visit.body, {"signing", "sealing", "proof"})
    keys = PublicKeys(signing=word(said, "signing"), sealing=word(said, "sealing"))
    assert visit.peer.keys is not None
    verify_proof(visit.peer.keys, keys, octets(said, "proof"))
    return keys


def taken_in(name: str, keys: PublicKeys) -> Said:
    """Tell a newcomer who took him in."""
    return Said(status=200, body={"name": name, "signing": keys.signing, "sealing": keys.sealing})


def _read_newcomer(body: bytes, own: Keys) -> Newcomer:
    said: Mapping[str, Any] = members(body, {"name", "code", "signing", "sealing"})
    keys = PublicKeys(signing=word(said, "signing"), sealing=word(said, "sealing"))
    return Newcomer(name=word(said, "name"), secret=own.open(octets(said, "code")), keys=keys)


def _request(asked: Asked) -> Request:
    query = asked.scope["query_string"].decode("latin-1")
    path = asked.scope["raw_path"].decode("latin-1")
    request = Request(method=asked.method, url=f"https://upstream{path}{'?' + query if query else ''}")
    for name, value in asked.headers.items():
        request.headers[name] = f"{request.headers[name]}, {value}" if name in request.headers else value
    return request


def _response(said: Said) -> Response:
    return Response(said.bytes, said.status, {"content-type": "application/json", **said.headers})


def _now() -> str:
    return datetime.now(UTC).isoformat()
