"""What a node's database tells when somebody asks for metrics: read then, on a connection of its own, and cheap.

Nothing of it is kept between two readings but how far the ledger of conflicts was counted. A database that is away is a
reading too.
"""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import psycopg
import structlog
from prometheus_client import Metric
from prometheus_client.registry import Collector

from dbsync import __version__, certificates, meters
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.meters import Reading, families
from dbsync.model.program import Program
from dbsync.postgres import connect, translated
from dbsync.service.backlog import backlog
from dbsync.service.link import LinkState
from dbsync.statements import statement

FRESH = 5.0
"""Seconds for which a reading is good: several who ask at once make no more work than one."""
COUNTED = 5_000
"""Pending changes that are counted; how many more there are is told from a sample of the log's pages ..."""
PAGES = 100
"""... so large."""

log = structlog.get_logger()


def of_process(node: str, program: Program) -> Iterator[Reading]:
    """Tell what runs, and when the certificates end that it has to do with."""
    yield meters.BUILD, (__version__, platform.python_version(), node, program.value), 1
    for of, ends in certificates.known().items():
        yield meters.CERTIFICATE, (of,), ends.timestamp()


@dataclass(kw_only=True)
class Ledger:
    """Counts the entries of the ledger of conflicts: all of them once, and from then on those that come."""

    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By node and kind, up to ``_after``."""
    _after: int = 0
    _until: int = 0
    """An end that was seen, and will hold when all transactions below ``_open`` have ended."""
    _open: int = 0

    def read(self, connection: psycopg.Connection) -> Counter[tuple[str, str]]:
        """Count them."""
        asked = {"after": self._after, "until": self._until}
        rows = connection.execute(statement("observed", "ledger"), asked).fetchall()
        found = self.counted + Counter({(node, conflict): every for node, conflict, _, every, *_ in rows})
        if rows:
            oldest, newest = rows[0][-2:]
            self._settle(rows, oldest, newest)
        return found

    def _settle(self, rows: Iterable[tuple[str, str, int, int, int, int, int]], oldest: int, newest: int) -> None:
        """Keep what cannot grow any more, and begin to wait for the rest."""
        if self._until > self._after:
            if oldest < self._open:
                return
            self.counted += Counter({(node, conflict): before for node, conflict, before, *_ in rows})
            self._after = self._until
        self._until, self._open = max(last for *_, last, _, _ in rows), newest


@dataclass(kw_only=True, eq=False)
class Observed(Collector):
    """Reads a node's database for whoever asks this process for its metrics."""

    config: Config
    program: Program
    _ledger: Ledger = field(default_factory=Ledger)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _readings: list[Reading] = field(default_factory=list)
    _until: float = 0.0
    _told: str = ""

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance: that would ask the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read it, unless that was done a moment ago."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._readings = list(self._read())
                self._until = time.monotonic() + FRESH
            yield from families(self._readings)

    def _read(self) -> Iterator[Reading]:
        yield from of_process(self.config.node.name, self.program)
        try:
            with connect(self.config.node.source, name="source", application="dbsync metrics") as connection:
                found = list(self._of_database(connection))
            self._told = ""
        except DbsyncError as error:
            self._tell(str(error))
            found = [(meters.DATABASE_UP, (), 0)]
        yield from found

    def _tell(self, trouble: str) -> None:
        """Say once what is in the way; whoever asks comes again and again."""
        if trouble != self._told:
            log.warning("metrics_not_read", reason=trouble)
        self._told = trouble

    def _of_database(self, connection: psycopg.Connection) -> Iterator[Reading]:
        with translated("source"):
            yield meters.DATABASE_UP, (), 1
            yield from _of_node(connection)
            if self.config.above is not None:
                yield from _of_link(connection, self.config.node.name, self.config.above.label)
            yield from _of_those_below(connection)
            for of, number in self._ledger.read(connection).items():
                yield meters.CONFLICTS, of, number


def _of_node(connection: psycopg.Connection) -> Iterator[Reading]:
    row = connection.execute(statement("observed", "node")).fetchone()
    if row is not None:
        name, captures, paused, size = row
        yield meters.CAPTURE, (name,), captures
        yield meters.PAUSED, (name,), paused
        yield meters.LOG_BYTES, (name,), size


def _of_link(connection: psycopg.Connection, node: str, link: str) -> Iterator[Reading]:
    of = (node, link)
    row = connection.execute(statement("observed", "link"), {"link": link}).fetchone()
    state, *numbers = row or (LinkState.NEW.value, *[None] * 6)
    for one in LinkState:
        yield meters.LINK_STATE, (*of, one.value), one.value == state
    told = (
        meters.LINK_SINCE,
        meters.LINK_BATCH,
        meters.LINK_RECEIPT,
        meters.LINK_CONTACT,
        meters.LINK_CLOCK,
        meters.LINK_QUARANTINED,
    )
    for meter, number in zip(told, numbers, strict=True):
        if number is not None:
            yield meter, of, number
    yield from _of_backlog(connection, of)


def _of_backlog(connection: psycopg.Connection, of: tuple[str, str]) -> Iterator[Reading]:
    waiting = backlog(connection, of[1], COUNTED, PAGES).tables.values()
    now = _now(connection)
    yield meters.LINK_PENDING, of, sum(table.changes for table in waiting)
    yield meters.LINK_LAG, of, max([0.0, *(now - table.oldest.timestamp() for table in waiting)])
    for relay, _, changes, since, _ in connection.execute(statement("custody", "standing"), {"link": of[1]}).fetchall():
        yield meters.CUSTODY_CHANGES, (*of, relay), changes
        yield meters.CUSTODY_AGE, (*of, relay), now - since.timestamp()


def _of_those_below(connection: psycopg.Connection) -> Iterator[Reading]:
    """Tell of the nodes that bring their changes here."""
    oldest = 0.0
    for node, conflict, changes, age in connection.execute(statement("observed", "waiting")).fetchall():
        yield meters.QUARANTINE, (node, conflict), changes
        oldest = max(oldest, age)
    yield meters.QUARANTINE_AGE, (), oldest
    for name, role, seen in connection.execute(statement("observed", "peers")).fetchall():
        yield meters.PEER_CONTACT, (name, role), seen
    for name, at in connection.execute(statement("observed", "newest_batches")).fetchall():
        yield meters.PEER_BATCH, (name,), at


def _now(connection: psycopg.Connection) -> float:
    row = connection.execute("SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8").fetchone()
    assert row is not None
    return float(row[0])
