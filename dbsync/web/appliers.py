"""Appliers, a few, each on a connection of its own: as many batches are applied at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from dbsync import schema
from dbsync.apply.applier import Applier
from dbsync.config.models import Config
from dbsync.errors import Unreachable
from dbsync.postgres import connect, let_server_notice, translated

PATIENCE = 5.0
"""Seconds in which one of them may come free."""
QUEUE = 16
"""Requests that wait for that at the same time; more are sent away at once, for each of them keeps a thread."""
AGAIN = 5.0
"""Seconds after which somebody who was sent away may come again."""


class Busy(Unreachable):
    """All of them are at work."""

    @classmethod
    def now(cls) -> Busy:
        """Say it to a node."""
        return cls(
            "the server is busy", where="upstream", why="it applies as many batches as it may", hint="come again"
        )


@dataclass(slots=True, kw_only=True)
class Hand:
    """An applier, and its connection: in autocommit, between two batches."""

    connection: psycopg.Connection
    applier: Applier


@dataclass(kw_only=True)
class Appliers:
    """Lends appliers out, as many at the same time as the configuration says; what met an error is thrown away."""

    config: Config
    _idle: list[Hand] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(QUEUE))
    _free: threading.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = threading.Semaphore(self.config.serve.appliers)

    @contextmanager
    def one(self) -> Iterator[Hand]:
        """Lend one. Raises Busy when none comes free, Unreachable when the database is away."""
        self._wait()
        try:
            hand = self._take()
            try:
                with translated("upstream"):
                    yield hand
            except BaseException as error:
                hand.connection.close()
                if isinstance(error, Unreachable):
                    self.close()  # the server may have gone, and the connections of the others with it
                raise
            with self._lock:
                self._idle.append(hand)
        finally:
            self._free.release()

    def close(self) -> None:
        """Close those that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for hand in idle:
            hand.connection.close()

    def _wait(self) -> None:
        if self._free.acquire(blocking=False):
            return
        if not self._places.acquire(blocking=False):
            raise Busy.now()
        try:
            if not self._free.acquire(timeout=PATIENCE):
                raise Busy.now()
        finally:
            self._places.release()

    def _take(self) -> Hand:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        silence = self.config.service.silence
        connection = connect(
            self.config.node.source, name="upstream", application="dbsync serve: apply", silence=silence
        )
        try:
            schema.require(connection, "upstream")
            with translated("upstream"):
                applier = Applier(connection, self.config.policies)
                let_server_notice(connection, silence)
        except BaseException:
            connection.close()
            raise
        return Hand(connection=connection, applier=applier)
