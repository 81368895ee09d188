"""The audit log: what somebody is about to do is written down before it is done, and what came of it behind it.

What cannot be written down is not done. A line without a result was under way when its process ended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
import structlog

from dbsync.errors import DbsyncError
from dbsync.statements import statement

log = structlog.get_logger()

LONGEST = 2_000
"""Characters of a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Who does what, from where, and what would do the same on a terminal."""

    who: str
    address: str
    what: str
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Writes into the audit log, in transactions of its own."""

    connections: Callable[[], AbstractContextManager[psycopg.Connection]]

    def note(self, entry: Entry, result: str) -> None:
        """Write down what is done already."""
        self._end(self._begin(entry), result)

    def done(self, entry: Entry, deed: Callable[[], str]) -> int:
        """Do something that says in words what came of it; give its line. What it raises is a result too, and is raised again."""
        number = self._begin(entry)
        try:
            result = deed()
        except DbsyncError as error:
            self._end(number, f"not done: {error}")
            raise
        except BaseException as error:
            self._end(number, f"not done: a bug, {type(error).__name__}")
            raise
        self._end(number, result)
        log.info("deed_done", user=entry.who, what=entry.what)
        return number

    def _begin(self, entry: Entry) -> int:
        said = {"who": entry.who, "address": entry.address, "what": entry.what, "command": entry.command}
        with self.connections() as connection:
            row = connection.execute(statement("web", "write_down"), said).fetchone()
        assert row is not None
        number: int = row[0]
        return number

    def _end(self, number: int, result: str) -> None:
        with self.connections() as connection:
            connection.execute(statement("web", "write_result"), {"id": number, "result": result[:LONGEST]})
