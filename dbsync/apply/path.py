"""The search_path that an upstream gives to everybody: its own triggers run under it, and dbsync's words are not read by it.

Most databases search pg_catalog first, and there is nothing to do. One that names other schemas before it may mean
something else by ``date`` or by ``=``: there dbsync's statements are read with pg_catalog before all others, and give the
path back with their first row, before a trigger runs.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from dbsync.apply.judge import GIVEN_BACK
from dbsync.statements import statement


class SearchPath:
    """The path of one upstream, for the transactions of one session."""

    hides: bool
    """Something stands before pg_catalog."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        with connection.transaction():
            connection.execute(statement("apply", "open_path"))
            row = connection.execute(statement("apply", "path")).fetchone()
        assert row is not None
        self._theirs, self.hides = row
        back = statement("apply", "give_back").format(theirs=sql.Literal(self._theirs)).as_string(connection)
        self._back = back if self.hides else ""

    def open(self) -> None:
        """Let triggers find names as everybody does, and ours be PostgreSQL's, until the transaction ends."""
        if not self.hides:
            self._connection.execute(statement("apply", "open_path"))
        self.take_back()

    def give_back(self) -> None:
        """Let triggers that have waited find names as everybody does."""
        if self.hides:
            self._connection.execute(statement("apply", "open_path"))

    def take_back(self) -> None:
        """Let what comes next be read with pg_catalog before all else."""
        if self.hides:
            self._connection.execute(statement("apply", "read_ours"), {"theirs": self._theirs})

    def fill(self, text: str) -> str:
        """Let a statement give the path back with its first row, where that matters; it is to be taken back afterwards."""
        return text.replace(GIVEN_BACK.as_string(None), self._back)
