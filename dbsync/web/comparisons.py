"""Answers nodes that compare their rows with what is here. See docs/reference/http.md."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import orjson
import psycopg
import structlog

from dbsync.service.admission import expect_node
from dbsync.verify.answers import answer
from dbsync.web.appliers import Busy
from dbsync.web.door import Said, Visit
from dbsync.web.says import Malformed

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Answers one question at a time: for each, a whole table is read, and batches go before comparisons.

    Who comes meanwhile is sent away at once: he would keep a thread that batches need.
    """

    connections: Callable[[], AbstractContextManager[psycopg.Connection]]
    """Lends a connection to the database, in autocommit, as a context manager."""
    _one: threading.Semaphore = field(default_factory=threading.Semaphore)

    def answer(self, asks: str, visit: Visit) -> Said:
        """Answer a question of a node. Raises Busy while others are answered, NotAdmitted for a relay, which is to stay blind."""
        expect_node(visit.peer)
        with self.turn(), self.connections() as connection:
            said = answer(connection, asks, _read(visit.body))
        log.info("comparison_answered", node=visit.peer.name, asked=asks)
        return Said(status=200, body=said)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only one who compares. Raises Busy while another does."""
        if not self._one.acquire(blocking=False):
            raise Busy("another comparison is under way", where="upstream", hint="come again")
        try:
            yield
        finally:
            self._one.release()


def _read(body: bytes) -> dict[str, object]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Malformed("a question is a JSON object", where="request")
    return found
