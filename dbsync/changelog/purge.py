"""Purging: changes leave the log when every link has a receipt for them and they were kept long enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

import psycopg

from dbsync.keys.expression import Query
from dbsync.statements import statement

BITE = 20_000
"""Changes deleted by one statement."""
VACUUM_FROM = 50_000
"""Deleted changes whose space is worth a vacuum of our own."""
VACUUM_SHARE = 10
"""A vacuum rests so many times as long as the last one took."""
SAMPLE_PAGES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the log holds, estimated from a sample of its pages."""

    changes: int
    bytes: int
    waiting_changes: int
    """Those that a link has no receipt for."""
    waiting_bytes: int


def live(connection: psycopg.Connection, link: str) -> Live:
    """Estimate what the changes in the log take on disk; exact for a small log."""
    row = connection.execute(statement("retention", "live"), {"link": link, "pages": SAMPLE_PAGES}).fetchone()
    if row is None:
        return Live(changes=0, bytes=0, waiting_changes=0, waiting_bytes=0)
    changes, size, waiting_changes, waiting_bytes = row
    return Live(changes=changes, bytes=size, waiting_changes=waiting_changes, waiting_bytes=waiting_bytes)


def size(connection: psycopg.Connection) -> int:
    """Give what the log takes on disk, the space it can use again included."""
    row = connection.execute(statement("retention", "size")).fetchone()
    assert row is not None
    return int(row[0])


def is_at_home(connection: psycopg.Connection) -> bool:
    """Say whether transaction ids mean here what they meant when they were logged: not in a copy, nor after a reload."""
    row = connection.execute(statement("retention", "at_home")).fetchone()
    return row is not None and bool(row[0])


class Purge:
    """Deletes acknowledged changes on a session of the reader (autocommit), a bite at a time.

    ``keep`` is in seconds since the receipt; over ``max_size`` bytes acknowledged changes go though they are younger.
    A change that some link has no receipt for never goes, and none of a batch that is on record.
    """

    def __init__(self, connection: psycopg.Connection, *, keep: float, max_size: int | None = None) -> None:
        self._connection = connection
        self._keep = keep
        self._max_size = max_size
        self._done: str | None = None
        """A snapshot in which everything is purged."""
        self._bites = self._all_bites()
        self._under_way = False
        """It was begun in an earlier run, and more may go since."""
        self._dead = 0
        self._rest_until = 0.0

    def run(self, bites: int) -> bool:
        """Delete up to ``bites`` times; say whether there is more."""
        was_under_way = self._under_way
        for _ in range(bites):
            if next(self._bites, None) is None:
                self._bites, self._under_way = self._all_bites(), False
                self._vacuum()
                return was_under_way
        self._under_way = True
        return True

    def purge(self) -> int:
        """Delete everything that may go; give the number of changes."""
        return sum(self._all_bites())

    def _all_bites(self) -> Iterator[int]:
        horizon = self._horizon()
        if horizon is None:
            return
        for first, below in _spans(self._done, horizon):
            place = (first, 0)
            while bitten := self._bite(place, below, horizon):
                place, gone = bitten
                self._dead += gone
                yield gone
        self._done = horizon

    def _horizon(self) -> str | None:
        """Say up to where changes may go, and forget the batches that brought them: from here on none is read again."""
        wanted = {"keep": self._keep, "excess": self._excess()}
        with self._connection.transaction():
            row = self._connection.execute(_retaining("horizon"), wanted).fetchone()
            horizon: str | None = row[0] if row else None
            if horizon is not None:
                self._connection.execute(_retaining("forget_batches"), wanted)
                self._connection.execute(statement("retention", "forget_days"))
        return horizon

    def _excess(self) -> int:
        """Say how many changes the log holds over its size."""
        if self._max_size is None or size(self._connection) <= self._max_size:
            return 0
        found = live(self._connection, "")
        over = found.bytes - self._max_size
        return max(0, -(-over * found.changes // max(found.bytes, 1)))

    def _bite(self, place: tuple[str, int], below: str, horizon: str) -> tuple[tuple[str, int], int] | None:
        wanted = {"xid": place[0], "seq": place[1], "below": below, "horizon": horizon, "bite": BITE}
        row = self._connection.execute(statement("retention", "bite"), wanted).fetchone()
        return ((row[0], row[1]), row[2]) if row else None

    def _vacuum(self) -> None:
        """Make the space of what was deleted usable again, before autovacuum comes."""
        begun = monotonic()
        if self._dead < VACUUM_FROM or begun < self._rest_until:
            return
        self._connection.execute(statement("retention", "vacuum"))
        self._dead = 0
        self._rest_until = monotonic() + VACUUM_SHARE * (monotonic() - begun)


def _retaining(name: str) -> Query:
    return statement("retention", name).format(retained=statement("retention", "retained"))


def _spans(done: str | None, horizon: str) -> Iterator[tuple[str, str]]:
    """Give the ranges of transactions that may have become free since ``done``, each from its first to below its last.

    >>> list(_spans(None, "10:20:10,15"))
    [('0', '20')]
    >>> list(_spans("10:20:10,15", "15:30:15"))
    [('10', '11'), ('15', '16'), ('20', '30')]
    """
    end = horizon.split(":")[1]
    if done is None:
        yield "0", end
        return
    _, begin, running = done.split(":")
    for xid in filter(None, running.split(",")):
        yield xid, str(int(xid) + 1)
    yield begin, end
