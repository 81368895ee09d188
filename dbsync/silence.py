"""A server that never answers: found out, though the connection to it looks alive.

The kernel notices a machine that is gone. It does not notice a line between that takes everything and passes nothing on:
a firewall that forgot the connection, a proxy whose other side is dead. Long statements are silent too, so that no
deadline tells one from the other; but the server knows whether it is at work on ours, and can be asked over a second
connection.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen

from dbsync.pulse import PULSE

SILENCE = 60.0
"""Seconds without an answer after which the server is asked whether it is at work."""
AGAIN = 0.25
"""What it says is believed when it says so twice, such a part of the silence apart: the answer may just be on its way."""
WAITS_FOR_US = ("ClientRead", "ClientWrite")
ANSWER = 10.0
"""Seconds in which the first statement of a session is answered, and the question whether the server is at work."""

RV = TypeVar("RV")


class WatchedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that breaks when the server does nothing for it any more."""

    silence: float = SILENCE
    answer: float = ANSWER
    _backend: int | None = None
    _settings: Mapping[str, Any] = {}

    def watch(self, settings: Mapping[str, Any], backend: int, silence: float) -> None:
        """Watch from here on; ``settings`` open a second connection, ``backend`` is the server's process of this one."""
        self._settings, self._backend, self.silence = settings, backend, silence

    def move(self, backend: int) -> None:
        """Watch another process of the server."""
        self._backend = backend

    def wait(self, gen: PQGen[RV], *given: Any, **named: Any) -> RV:
        """Wait as psycopg does, but not for ever; what is here already, as most rows of a COPY are, costs no wait."""
        try:
            wanted = next(gen)
        except StopIteration as done:
            at_once: RV = done.value
            return at_once
        return super().wait(self._heard(gen, wanted), *given, **named)

    def _heard(self, gen: PQGen[RV], wanted: Any) -> Generator[Any, Any, RV]:
        """Pass on what a wait asks and is told; psycopg's waits come back with nothing ten times a second."""
        patience = self.answer if self._backend is None else self.silence
        look = time.monotonic() + patience
        doubted = False
        try:
            while True:
                ready = yield wanted
                if ready:
                    PULSE.beat()
                    look, doubted = time.monotonic() + patience, False
                elif time.monotonic() >= look:
                    idle = self._is_idle()
                    if idle and doubted:
                        self._give_up(patience)
                    if not idle:
                        PULSE.beat()
                    look, doubted = time.monotonic() + patience * (AGAIN if idle else 1), idle
                wanted = gen.send(ready)
        except StopIteration as done:
            found: RV = done.value
            return found

    def _is_idle(self) -> bool:
        """Say whether nobody is at work for this connection; where the server will not say, somebody is."""
        if self._backend is None:
            return True
        try:
            with WatchedConnection.connect(autocommit=True, **self._settings) as other:
                other.answer = self.answer
                row = other.execute(
                    "SELECT a.state, a.wait_event FROM pg_catalog.pg_stat_activity a WHERE a.pid = %s", [self._backend]
                ).fetchone()
        except errors.ConnectionTimeout:
            return True
        except psycopg.Error:
            return False
        return row is None or row[0] != "active" or row[1] in WAITS_FOR_US

    def _give_up(self, patience: float) -> None:
        self.pgconn.finish()
        raise errors.ConnectionTimeout(f"no answer for {patience:g} s, and nobody is at work on one")
