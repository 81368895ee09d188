"""The ASGI application: bytes in, bytes out. Everything behind the edge is synchronous, in threads."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
import structlog
from anyio import CapacityLimiter, fail_after
from anyio.to_thread import run_sync
from psycopg_pool import ConnectionPool, PoolTimeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Asked
from starlette.responses import Response
from starlette.routing import Route

from dbsync.config.models import Config
from dbsync.errors import DbsyncError, FormatError, Unreachable
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.messages import Request, Stale, verify_request
from dbsync.identity.registry import Peer
from dbsync.postgres import ALIVE, CONNECT_TIMEOUT, SETTINGS, translated
from dbsync.silence import WatchedConnection
from dbsync.web.appliers import QUEUE, Appliers
from dbsync.web.dock import Dock
from dbsync.web.door import Door, Said, Visit, problem
from dbsync.web.nodes import PART, Desk, Malformed, explained, hinted

VERSION = 1
SMALL = 1 << 16
"""Bytes that are read of a request which brings no batch."""
BUG = 500
CONNECTIONS = 8
"""To the database, beside those of batches that are applied."""
WAIT = 5.0
"""Seconds in which a connection to the database may come free."""

log = structlog.get_logger()

Found = TypeVar("Found")
Answer = Callable[[Desk, Visit], Said]
Handler = Callable[[Asked], Awaitable[Response]]


@dataclass(kw_only=True)
class Server:
    """What nodes reach: stateless beside its database, so that there may be several of it."""

    config: Config
    keys: Keys

    def __post_init__(self) -> None:
        settings: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(self.config.node.source)
        self._settings = {"application_name": "dbsync serve", "connect_timeout": CONNECT_TIMEOUT, **ALIVE, **settings}
        self._pool = ConnectionPool(
            connection_class=WatchedConnection,
            kwargs={**self._settings, "autocommit": True},
            min_size=1,
            max_size=CONNECTIONS + self.config.serve.appliers,
            timeout=WAIT,
            configure=self._settled,
            check=ConnectionPool.check_connection,
            open=False,
        )
        self._threads = CapacityLimiter(CONNECTIONS + QUEUE + self.config.serve.appliers)
        self._appliers = Appliers(config=self.config)
        self._door = Door(keys=self.keys)
        self._desk = Desk(config=self.config, keys=self.keys, appliers=self._appliers, connections=self._connection)
        self._dock = Dock(config=self.config, keys=self.keys, appliers=self._appliers, connections=self._connection)

    def app(self) -> Starlette:
        """Give the application."""
        return Starlette(
            routes=[
                Route("/v1/health", self._health),
                Route("/v1/enrol", self._enrol, methods=["POST"]),
                Route("/v1/time", self._signed(Desk.time)),
                Route("/v1/clock", self._signed(Desk.clock), methods=["POST"]),
                Route("/v1/receipts/last", self._signed(Desk.last_receipt)),
                Route("/v1/certificate", self._signed(Desk.certificate)),
                Route("/v1/tend", self._signed(Desk.tend), methods=["POST"]),
                Route("/v1/batches/{id}", self._signed(Desk.kept), methods=["GET"]),
                Route("/v1/batches/{id}", self._signed(Desk.part, PART), methods=["PATCH"]),
                Route("/v1/batches/{id}", self._signed(Desk.forget), methods=["DELETE"]),
                Route("/v1/bundles/{file}", self._docked(Dock.kept), methods=["GET"]),
                Route("/v1/bundles/{file}", self._docked(Dock.part, PART), methods=["PATCH"]),
                Route("/v1/bundles/{file}", self._docked(Dock.forget), methods=["DELETE"]),
                Route("/v1/bundles/{file}", self._docked(Dock.finish), methods=["PUT"]),
                Route("/v1/bundles/{node}/receipts", self._docked(Dock.receipts)),
            ],
            exception_handlers={HTTPException: self._no_such},
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

    def _settled(self, connection: WatchedConnection) -> None:
        for name, value in SETTINGS.items():
            connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        connection.watch(self._settings, connection.info.backend_pid, self.config.service.silence)

    # Requests.

    def _signed(self, answer: Answer, largest: int = SMALL) -> Handler:
        async def handle(asked: Asked) -> Response:
            request, body = read_request(asked), await self._body(asked, largest)
            if isinstance(body, Said):
                return self._sealed(request, body)
            return await run_sync(self._greet, asked, request, body, answer, limiter=self._threads)

        return handle

    def _docked(self, answer: Callable[[Dock, Visit], Said], largest: int = SMALL) -> Handler:
        return self._signed(lambda _desk, visit: answer(self._dock, visit), largest)

    def _sealed(self, request: Request, said: Said) -> Response:
        return Response(said.bytes, said.status, dict(self._door.signed(request, said)))

    def _greet(self, asked: Asked, request: Request, body: bytes, answer: Answer) -> Response:
        found = self._safely(lambda: self._checked(request, body), hinted)
        if isinstance(found, Said):
            return self._sealed(request, found)
        visit = Visit(
            peer=found,
            method=asked.method,
            path=dict(asked.path_params),
            query=dict(asked.query_params),
            body=body,
        )
        return self._sealed(request, self._safely(lambda: answer(self._desk, visit), explained, node=found.name))

    def _checked(self, request: Request, body: bytes) -> Peer | Said:
        with self._connection() as connection:
            return self._door.check(connection, request, body)

    async def _body(self, asked: Asked, largest: int) -> bytes | Said:
        """Read a request's body, and no more of it than belongs there, from somebody who does send it."""
        too_large = problem(413, "too_large", "the request is too large", why=f"{largest:,} bytes are taken")
        if int(asked.headers.get("content-length", "0") or 0) > largest:
            return too_large
        body, stream, silence = bytearray(), asked.stream(), self.config.service.silence
        try:
            while len(body) <= largest:
                with fail_after(silence):
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
        return self._sealed(read_request(asked), replace(said, headers=dict(error.headers or {})))

    async def _enrol(self, asked: Asked) -> Response:
        request, body = read_request(asked), await self._body(asked, SMALL)
        if isinstance(body, Said):
            return _response(body)
        return await run_sync(self._let_in, request, body, limiter=self._threads)

    def _let_in(self, request: Request, body: bytes) -> Response:
        """Check a request by the very keys it brings; they prove only that whoever brings them has their secret half."""
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
        return self._sealed(request, self._safely(let_in, hinted))

    async def _health(self, _asked: Asked) -> Response:
        return await run_sync(self._look, limiter=self._threads)

    def _look(self) -> Response:
        return _response(self._safely(self._alive, hinted))

    def _alive(self) -> Said:
        with self._connection() as connection:
            connection.execute("SELECT 1")
        return Said(status=200, body={"status": "ok", "version": VERSION})

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
            return problem(BUG, "bug", "a bug in the upstream's dbsync", why=type(error).__name__)


def _check_newcomer(request: Request, body: bytes, keys: PublicKeys, own: str) -> None:
    verify_request(
        request, body, lambda key_id: keys if key_id == keys.key_id else None, own=own, now=datetime.now(UTC)
    )


def place_of(error: Exception) -> str:
    """Say where in the program an error came from; its words may hold a row's values."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}, line {frames[-1].lineno}" if frames else ""


def read_request(asked: Asked) -> Request:
    """Give a request as it was signed."""
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
