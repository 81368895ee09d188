"""What a server's sessions hold of each other: locks, and how many wait for one."""

from __future__ import annotations

from typing import LiteralString

from tests.benchmarks.watch import Watch
from tests.support.databases import Database

_PERIOD = 0.05
"""Seconds between two looks."""

_LOOK: LiteralString = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'),
       (SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid())
"""


class Locks(Watch):
    """Watch the locks of a database while inside."""

    def __init__(self, database: Database) -> None:
        super().__init__(self._note, _PERIOD)
        self.most = 0
        """Locks in the server's table at one moment: those of rows are in the rows, and not among them."""
        self._session = database.connect(application_name="benchmark")
        self._looks = 0
        self._waited = 0

    @property
    def waiting(self) -> float:
        """Give the sessions that waited for a lock, on average over all looks."""
        assert self._looks, "nobody looked"
        return self._waited / self._looks

    def _note(self) -> None:
        row = self._session.execute(_LOOK).fetchone()
        assert row is not None
        self._looks += 1
        self._waited += row[0]
        self.most = max(self.most, row[1])

    def stop(self) -> None:
        """End the watch, after which the figures stand."""
        super().stop()
        self._session.close()
