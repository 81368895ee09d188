"""The ASGI application: bytes in, bytes out. Everything behind the edge is synchronous, in threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import structlog
from anyio.to_thread import run_sync
from psycopg_pool import ConnectionPool, PoolTimeout
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Asked
from starlette.responses import Response
from starlette.routing import Route

from dbsync.config.models import Config
from dbsync.errors import DbsyncError, FormatError, Unreachable
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.messages import Request, Stale, verify_request
from dbsync.postgres import SETTINGS, translated
from dbsync.web.appliers import Appliers
from dbsync.web.door import Door, Said, Visit, problem
from dbsync.web.nodes import PART, Desk, Malformed, explained

VERSION = 1
SMALL = 1 << 16
"""Bytes that are read of a request which brings no batch."""
CONNECTIONS = 8
WAIT = 5.0
"""Seconds in which a connection to the database may come free."""

log = structlog.get_logger()

Answer = Callable[[Desk, Visit], Said]
Handler = Callable[[Asked], Awaitable[Response]]


@dataclass(kw_only=True)
class Server:
    """What nodes reach: stateless beside its database, so that there may be several of it."""

    config: Config
    keys: Keys

    def __post_init__(self) -> None:
        self._pool = ConnectionPool(
            self.config.node.source,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=WAIT,
            kwargs={"autocommit": True, "application_name": "dbsync serve"},
            configure=_settled,
            check=ConnectionPool.check_connection,
            open=False,
        )
        self._appliers = Appliers(config=self.config)
        self._door = Door(keys=self.keys)
        self._desk = Desk(config=self.config, keys=self.keys, appliers=self._appliers, connections=self._connection)

    def app(self) -> Starlette:
        """Give the application."""
        return Starlette(
            routes=[
                Route("/v1/health", self._health),
                Route("/v1/enrol", self._enrol, methods=["POST"]),
                Route("/v1/time", self._signed(Desk.time)),
                Route("/v1/clock", self._signed(Desk.clock), methods=["POST"]),
                Route("/v1/receipts/last", self._signed(Desk.last_receipt)),
                Route("/v1/tend", self._signed(Desk.tend), methods=["POST"]),
                Route("/v1/batches/{id}", self._signed(Desk.kept), methods=["GET"]),
                Route("/v1/batches/{id}", self._signed(Desk.part, PART), methods=["PATCH"]),
                Route("/v1/batches/{id}", self._signed(Desk.forget), methods=["DELETE"]),
            ]
        )

    def open(self) -> None:
        """Connect to the database, as far as it is there."""
        self._pool.open()

    def close(self) -> None:
        """Give every connection back."""
        self._appliers.close()
        self._pool.close()

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        try:
            with translated("upstream"), self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise Unreachable("the database is away or busy", where="upstream") from error

    # Requests.

    def _signed(self, answer: Answer, largest: int = SMALL) -> Handler:
        async def handle(asked: Asked) -> Response:
            body = await _body(asked, largest)
            if isinstance(body, Said):
                return _response(body)
            return await run_sync(self._greet, asked, body, answer)

        return handle

    def _greet(self, asked: Asked, body: bytes, answer: Answer) -> Response:
        request = _request(asked)
        said = self._safely(lambda: self._checked(asked, request, body, answer))
        return Response(said.bytes, said.status, dict(self._door.signed(request, said)))

    def _checked(self, asked: Asked, request: Request, body: bytes, answer: Answer) -> Said:
        with self._connection() as connection:
            peer = self._door.check(connection, request, body)
        if isinstance(peer, Said):
            return peer
        visit = Visit(
            peer=peer,
            method=asked.method,
            path=dict(asked.path_params),
            query=dict(asked.query_params),
            body=body,
        )
        return answer(self._desk, visit)

    async def _enrol(self, asked: Asked) -> Response:
        body = await _body(asked, SMALL)
        if isinstance(body, Said):
            return _response(body)
        return await run_sync(self._let_in, asked, body)

    def _let_in(self, asked: Asked, body: bytes) -> Response:
        """Check a request by the very keys it brings; they prove only that whoever brings them has their secret half."""
        request = _request(asked)
        try:
            keys, let_in = self._desk.enrol(body)
            _check_newcomer(request, body, keys, self.keys.public.fingerprint[:10].hex().upper())
        except Stale as error:
            return _response(problem(401, "clock", error.what, why=error.why, now=_now()))
        except Malformed as error:
            return _response(explained(error))
        except FormatError:
            hint = (
                "look at the code and the address; or ask this upstream's operator for a code: dbsync nodes invite NAME"
            )
            return _response(problem(403, "not_yours", "the code is mistyped, or another upstream's", hint=hint))
        said = self._safely(let_in)
        return Response(said.bytes, said.status, dict(self._door.signed(request, said)))

    async def _health(self, _asked: Asked) -> Response:
        return await run_sync(self._look)

    def _look(self) -> Response:
        try:
            with self._connection() as connection:
                connection.execute("SELECT 1")
        except DbsyncError as error:
            return _response(explained(error))
        return _response(Said(status=200, body={"status": "ok", "version": VERSION}))

    def _safely(self, answer: Callable[[], Said]) -> Said:
        """Turn whatever goes wrong into an answer; a bug is logged by its place, for its words may hold a row's values."""
        try:
            return answer()
        except DbsyncError as error:
            log.warning("request_refused", reason=str(error))
            return explained(error)
        except Exception as error:  # the last edge
            log.error("request_failed", error=type(error).__name__)
            return problem(500, "bug", "a bug in the upstream's dbsync", why=type(error).__name__)


def _check_newcomer(request: Request, body: bytes, keys: PublicKeys, own: str) -> None:
    verify_request(
        request, body, lambda key_id: keys if key_id == keys.key_id else None, own=own, now=datetime.now(UTC)
    )


def _settled(connection: psycopg.Connection) -> None:
    for name, value in SETTINGS.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))


async def _body(asked: Asked, largest: int) -> bytes | Said:
    """Read a request's body, and no more of it than belongs there."""
    too_large = problem(413, "too_large", "the request is too large", why=f"{largest:,} bytes are taken")
    if int(asked.headers.get("content-length", "0") or 0) > largest:
        return too_large
    chunks, size = [], 0
    try:
        async for chunk in asked.stream():
            size += len(chunk)
            if size > largest:
                return too_large
            chunks.append(chunk)
    except ClientDisconnect:
        return problem(400, "malformed", "the request was cut")
    return b"".join(chunks)


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
