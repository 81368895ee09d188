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
from dbsync.postgres import connect, translated
from dbsync.silence import let_server_notice

PATIENCE = 5.0
"""Seconds in which one of them may come free."""
AGAIN = 5.0
"""Seconds after which somebody who was sent away may come again."""


class Busy(Unreachable):
    """All of them are at work."""


@dataclass(slots=True, kw_only=True)
class _Hand:
    connection: psycopg.Connection
    applier: Applier


@dataclass(kw_only=True)
class Appliers:
    """Lends appliers out, as many at the same time as the configuration says; what met an error is thrown away."""

    config: Config
    _idle: list[_Hand] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _free: threading.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = threading.Semaphore(self.config.serve.appliers)

    @contextmanager
    def one(self) -> Iterator[Applier]:
        """Lend one. Raises Busy when none comes free, Unreachable when the database is away."""
        if not self._free.acquire(timeout=PATIENCE):
            raise Busy(
                "the server is busy", where="upstream", why="it applies as many batches as it may", hint="come again"
            )
        try:
            hand = self._take()
            try:
                with translated("upstream"):
                    yield hand.applier
            except BaseException:
                hand.connection.close()
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

    def _take(self) -> _Hand:
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
        return _Hand(connection=connection, applier=applier)
