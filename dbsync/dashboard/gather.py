"""One look at the database for everybody who looks: what is told by every page, and no more often than it is worth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from dbsync import schema
from dbsync.apply import greetings
from dbsync.capture import install as capture
from dbsync.catalog.inspect import inspect
from dbsync.changelog.lives import events
from dbsync.config.models import Config
from dbsync.dashboard.facts import Facts, History, LastBatch, Moment, Sender, Told, Waiting
from dbsync.identity import registry
from dbsync.identity.registry import Peer, Role
from dbsync.keys.register import register
from dbsync.model.names import TableName
from dbsync.service import nodes, status
from dbsync.service.tables import Listed, listed
from dbsync.statements import statement

FRESH = 1.0
"""Seconds for which a look is good enough for the next page."""
SLOW = 20.0
"""Seconds for which what takes longer is: the tables and their triggers, what came today, the plots."""
SHARE = 20
"""What is slow is looked at again after so many times what it took."""
STEP = timedelta(minutes=15)
STEPS = 96

Connections = Callable[[], AbstractContextManager[psycopg.Connection]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """What takes longer to tell."""

    tables: tuple[Listed, ...] = ()
    triggers: Mapping[TableName, str] = field(default_factory=dict)
    today: Mapping[str, int] = field(default_factory=dict)
    came: History | None = None
    went: History | None = None


@dataclass(kw_only=True)
class Watch:
    """Looks when somebody asks, and lets all who ask meanwhile have the same."""

    config: Config
    connections: Connections
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _facts: Facts | None = None
    _looked: float = 0.0
    _slow: Slow = field(default_factory=Slow)
    _slow_due: float = 0.0

    def facts(self, fresh: float = FRESH) -> Facts:
        """Give the facts, not older than so many seconds, and the last ones while somebody else looks; 0.0 waits for a look of its own."""
        before = self._facts
        if not self._lock.acquire(blocking=before is None or not fresh):
            assert before is not None
            return before
        try:
            if self._facts is None or time.monotonic() >= self._looked + fresh:
                self._facts = self._look()
                self._looked = time.monotonic()
            return self._facts
        finally:
            self._lock.release()

    def _look(self) -> Facts:
        config = self.config
        upstream = config.above.label if config.above is not None else None
        with self.connections() as connection:
            row = connection.execute(statement("dashboard", "now")).fetchone()
            assert row is not None
            now: datetime = row[0]
            batches = _last_batches(connection)
            if time.monotonic() >= self._slow_due:
                begun = time.monotonic()
                self._slow = _slow(connection, config, tuple(batches), now)
                self._slow_due = time.monotonic() + max(SLOW, SHARE * (time.monotonic() - begun))
            waiting = _waiting(connection)
            installed = _is_installed(connection)
            own = status.read(connection, config, self._slow.triggers) if upstream and installed else None
            happened = events(connection, status.EVENT_DAYS) if own is None else own.events
            drivers = {relay.label for relay in config.relays}
            peers = [peer for peer in registry.peers(connection) if peer.name not in drivers]
            told = {node: Told(at=at, greeting=said) for node, (at, said) in greetings.kept(connection).items()}
            senders = tuple(_senders(_Known(peers, batches, told, self._slow.today, waiting), now))
        return Facts(
            place=config.node.name,
            now=now,
            revision=schema.head(),
            upstream=upstream,
            own=own,
            senders=senders,
            waiting=waiting,
            tables=self._slow.tables,
            triggers=self._slow.triggers,
            events=happened,
            came=self._slow.came,
            went=self._slow.went,
        )


def _slow(connection: psycopg.Connection, config: Config, senders: tuple[str, ...], now: datetime) -> Slow:
    catalog = inspect(connection)
    known, _ = register(config, catalog)
    states = capture.states(connection, capture.captures(connection, known, catalog)) if config.above else {}
    link = config.above.label if config.above else None
    today = connection.execute(statement("dashboard", "today"), {"nodes": list(senders)}).fetchall()
    return Slow(
        tables=listed(config, catalog),
        triggers={table: state.value for table, state in states.items()},
        today=dict(today),
        came=history(connection, "came", {"nodes": list(senders)}, now) if senders else None,
        went=history(connection, "went", {"link": link}, now) if link else None,
    )


def history(
    connection: psycopg.Connection, name: str, asked: Mapping[str, Any], now: datetime, *, step: timedelta = STEP
) -> History:
    """Give what came or went, step by step up to now."""
    origin = datetime(2001, 1, 1, tzinfo=now.tzinfo)
    last = origin + (now - origin) // step * step
    since = last - (STEPS - 1) * step
    rows = connection.execute(
        statement("dashboard", name), {**asked, "step": step, "origin": origin, "since": since}
    ).fetchall()
    found = {begin: (changes, lag) for begin, changes, lag in rows}
    begins = [since + number * step for number in range(STEPS)]
    moments = [
        Moment(begin=begin, changes=changes, lag=lag)
        for begin in begins
        for changes, lag in [found.get(begin, (0, None))]
    ]
    return History(step=step, moments=moments)


def _last_batches(connection: psycopg.Connection) -> dict[str, LastBatch]:
    rows = connection.execute(statement("dashboard", "last_batches")).fetchall()
    return {node: LastBatch(number=number, changes=changes, at=at, lag=lag) for node, number, changes, at, lag in rows}


def _waiting(connection: psycopg.Connection) -> tuple[Waiting, ...]:
    rows = connection.execute(statement("dashboard", "waiting")).fetchall()
    return tuple(
        Waiting(node=node, relation=relation, cases=cases, behind=behind) for node, relation, cases, behind in rows
    )


def _is_installed(connection: psycopg.Connection) -> bool:
    row = connection.execute(statement("dashboard", "is_installed")).fetchone()
    return row is not None and bool(row[0])


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of nodes, by name."""

    peers: Sequence[Peer]
    batches: Mapping[str, LastBatch]
    told: Mapping[str, Told]
    today: Mapping[str, int]
    waiting: tuple[Waiting, ...]


def _senders(known: _Known, now: datetime) -> Iterator[Sender]:
    """Put together who is known by his key and who was only ever seen by what he brought."""
    peers = {peer.name: peer for peer in known.peers if peer.role is not Role.UPSTREAM}
    for name in sorted(peers.keys() | known.batches.keys()):
        peer, last, told = peers.get(name), known.batches.get(name), known.told.get(name)
        seen = (peer.seen_at if peer else None, last.at if last else None, told.at if told else None)
        yield Sender(
            name=name,
            role=peer.role if peer else Role.NODE,
            state=nodes.state(peer, now) if peer else None,
            seen_at=_latest(*seen),
            last=last,
            told=told,
            today=known.today.get(name, 0),
            cases=sum(one.cases for one in known.waiting if one.node == name),
            behind=sum(one.behind for one in known.waiting if one.node == name),
        )


def _latest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)
