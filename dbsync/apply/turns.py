"""Who may write at the same moment: all who want other rows, and alone whoever met others in a circle."""

from __future__ import annotations

import psycopg

from dbsync.statements import statement

ALONE = 20
"""Batches that are written alone after a deadlock: each costs the others milliseconds, a deadlock costs a second."""
PATIENCE = 5.0
"""Seconds to wait for the others. Who is alone may have died, and the server not noticed yet: then it goes on without."""


class Turns:
    """One applier's place among those that write into the same upstream.

    It is taken inside the savepoint in which a batch is written, and given back with it: whoever waits to be alone holds
    no row that another one waits for.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._alone = 0
        row = connection.execute("SELECT pg_catalog.current_setting('lock_timeout')").fetchone()
        assert row is not None
        self._usual: str = row[0]

    def take(self) -> None:
        """Wait until this applier may write: beside others, or alone for a while after a deadlock."""
        way = "alone" if self._alone else "beside_others"
        row = self._connection.execute(statement("apply", f"write_{way}"), prepare=True).fetchone()
        if (row is not None and row[0]) or self._wait(f"wait_{way}"):
            self._alone = max(self._alone - 1, 0)

    def _wait(self, name: str) -> bool:
        try:
            with self._connection.transaction():
                self._connection.execute(statement("apply", name), {"patience": f"{PATIENCE}s", "usual": self._usual})
        except psycopg.errors.LockNotAvailable:
            return False
        return True

    def met_others(self) -> None:
        """Take note of a deadlock: the same is written alone now, and some batches after it."""
        self._alone = ALONE
