"""The server that nodes and relays reach: its parts, its connections, its paths. See docs/reference/http.md."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter
from starlette.applications import Starlette

from dbsync.config.models import Config
from dbsync.identity.keys import Keys
from dbsync.identity.messages import Request
from dbsync.identity.registry import Peer
from dbsync.service.lending import Lending
from dbsync.verify.answers import QUESTIONS
from dbsync.web.appliers import QUEUE, Appliers
from dbsync.web.comparisons import Comparisons
from dbsync.web.dock import Dock
from dbsync.web.door import Door, Registered, Said, about
from dbsync.web.edge import Edge
from dbsync.web.nodes import Desk
from dbsync.web.operations import UPSTREAM

CONNECTIONS = 8
"""To the database, beside those of batches that are applied."""


@dataclass(kw_only=True)
class Server:
    """What nodes reach: stateless beside its database, so that there may be several of it."""

    config: Config
    keys: Keys

    def __post_init__(self) -> None:
        self._lending = Lending(
            self.config.node.source,
            where="upstream",
            application="dbsync serve",
            most=CONNECTIONS + self.config.serve.appliers,
            silence=self.config.service.silence,
        )
        connections = self._lending.one
        self._appliers = Appliers(config=self.config)
        self._desk = Desk(config=self.config, keys=self.keys, appliers=self._appliers, connections=connections)
        self._comparisons = Comparisons(connections=connections)
        self._dock = Dock(
            config=self.config,
            keys=self.keys,
            appliers=self._appliers,
            comparisons=self._comparisons,
            connections=connections,
        )
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
        desk, dock, verify = self._desk, self._dock, self._comparisons.answer
        return self._edge.app(
            UPSTREAM,
            {
                "time": desk.time,
                "about": about,
                "rotate": desk.rotate,
                "clock": desk.clock,
                "greet": desk.greet,
                "last_receipt": desk.last_receipt,
                "above": desk.above,
                "certificate": desk.certificate,
                "tend": desk.tend,
                "keep_list": desk.keep_list,
                "batch_kept": desk.kept,
                "batch_part": desk.part,
                "batch_forget": desk.forget,
                **{f"verify_{asks}": partial(verify, asks) for asks in QUESTIONS},
                "bundle_kept": dock.kept,
                "bundle_part": dock.part,
                "bundle_forget": dock.forget,
                "bundle_finish": dock.finish,
                "receipts": dock.receipts,
                "carried_certificate": dock.certificate,
            },
        )

    def open(self) -> None:
        """Connect to the database, as far as it is there."""
        self._lending.open()

    def close(self) -> None:
        """Give every connection back."""
        self._appliers.close()
        self._lending.close()

    def _check(self, request: Request, body: bytes) -> Peer | Said:
        with self._lending.one() as connection:
            return self._edge.door.check(Registered(connection), request, body)

    def _alive(self) -> None:
        with self._lending.one() as connection:
            connection.execute("SELECT 1")
