"""The server that nodes and relays reach: its parts, its connections, its paths. See docs/reference/http.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from anyio import CapacityLimiter
from psycopg_pool import ConnectionPool, PoolTimeout
from starlette.applications import Starlette
from starlette.routing import Route

from dbsync.config.models import Config
from dbsync.errors import Unreachable
from dbsync.identity.keys import Keys
from dbsync.identity.messages import Request
from dbsync.identity.registry import Peer
from dbsync.postgres import ALIVE, CONNECT_TIMEOUT, SETTINGS, translated
from dbsync.silence import WatchedConnection
from dbsync.web.appliers import QUEUE, Appliers
from dbsync.web.dock import Dock
from dbsync.web.door import Door, Registered, Said
from dbsync.web.edge import PART, Edge
from dbsync.web.nodes import Desk

CONNECTIONS = 8
"""To the database, beside those of batches that are applied."""
WAIT = 5.0
"""Seconds in which a connection to the database may come free."""


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
        self._appliers = Appliers(config=self.config)
        self._desk = Desk(config=self.config, keys=self.keys, appliers=self._appliers, connections=self._connection)
        self._dock = Dock(config=self.config, keys=self.keys, appliers=self._appliers, connections=self._connection)

        self._edge = Edge(
            door=Door(keys=self.keys),
            silence=self.config.service.silence,
            threads=CapacityLimiter(CONNECTIONS + QUEUE + self.config.serve.appliers),
            check=self._check,
            enrol=self._desk.enrol,
            alive=self._alive,
        )

    def app(self) -> Starlette:
        """Give the application."""
        signed, desk, dock = self._edge.signed, self._desk, self._dock
        return self._edge.app(
            [
                Route("/v1/health", self._edge.health),
                Route("/v1/enrol", self._edge.newcomer, methods=["POST"]),
                Route("/v1/time", signed(desk.time)),
                Route("/v1/clock", signed(desk.clock), methods=["POST"]),
                Route("/v1/receipts/last", signed(desk.last_receipt)),
                Route("/v1/receipts/above", signed(desk.above)),
                Route("/v1/certificate", signed(desk.certificate)),
                Route("/v1/rotate", signed(desk.rotate), methods=["POST"]),
                Route("/v1/tend", signed(desk.tend), methods=["POST"]),
                Route("/v1/batches/{id}", signed(desk.kept), methods=["GET"]),
                Route("/v1/batches/{id}", signed(desk.part, PART), methods=["PATCH"]),
                Route("/v1/batches/{id}", signed(desk.forget), methods=["DELETE"]),
                Route("/v1/bundles/{file}", signed(dock.kept), methods=["GET"]),
                Route("/v1/bundles/{file}", signed(dock.part, PART), methods=["PATCH"]),
                Route("/v1/bundles/{file}", signed(dock.forget), methods=["DELETE"]),
                Route("/v1/bundles/{file}", signed(dock.finish), methods=["PUT"]),
                Route("/v1/bundles/{node}/receipts", signed(dock.receipts)),
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

    def _check(self, request: Request, body: bytes) -> Peer | Said:
        with self._connection() as connection:
            return self._edge.door.check(Registered(connection), request, body)

    def _alive(self) -> None:
        with self._connection() as connection:
            connection.execute("SELECT 1")

    def _settled(self, connection: WatchedConnection) -> None:
        for name, value in SETTINGS.items():
            connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        connection.watch(self._settings, connection.info.backend_pid, self.config.service.silence)
