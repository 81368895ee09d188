"""Telling the upstream how this node is: at a contact, when everything is shipped, and once a minute."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import psycopg
import structlog

from dbsync import __version__, schema
from dbsync.errors import DbsyncError, Interrupted, OtherVersion
from dbsync.model.greeting import Carried, Greeting
from dbsync.postgres import translated
from dbsync.service.backlog import backlog
from dbsync.statements import statement
from dbsync.transport.base import Transport

AGAIN = 60.0
"""Seconds after which it is said again, for the other side to know how old it is."""
COUNTED = 20_000
"""Pending changes that are counted for it, as many as a batch has; of more a sample tells, for they wait until it is said."""
RELAYS = 20
"""Drivers that are named at most."""

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Greeter:
    """Greets over one link. No change waits for it: an upstream that does not listen is told once, and no more."""

    connection: psycopg.Connection
    transport: Transport
    node: str
    link: str
    clock_off: float | None = field(default=None, init=False)
    _listens: bool = field(default=True, init=False)
    _said: float = field(default=-math.inf, init=False)

    def greet(self) -> None:
        """Say how this node is."""
        if not self._listens:
            return
        self._said = time.monotonic()
        try:
            self.transport.greet(self.node, self._greeting())
        except DbsyncError as error:
            if error.try_again and not isinstance(error, OtherVersion | Interrupted):
                raise
            self._listens = False
            log.info("greeting_not_heard", link=self.link, reason=str(error))

    def greet_again(self, *, settled: bool) -> None:
        """Say it again where everything was shipped meanwhile (``settled``), or a while has passed."""
        if settled or time.monotonic() >= self._said + AGAIN:
            self.greet()

    def _greeting(self) -> Greeting:
        with translated("source"):
            waiting = backlog(self.connection, self.link, COUNTED)
            rows = self.connection.execute(statement("custody", "standing"), {"link": self.link}).fetchall()
        tables = waiting.tables.values()
        return Greeting(
            program=__version__,
            schema=schema.head(),
            clock_off=self.clock_off,
            pending=sum(table.changes for table in tables),
            exact=waiting.exact,
            oldest=min((table.oldest for table in tables), default=None),
            carried=tuple(
                Carried(relay=relay, changes=changes, since=since) for relay, _, changes, since, _ in rows[:RELAYS]
            ),
        )
