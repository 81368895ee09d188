"""What a relay told somebody, and what stands: in its SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime

from dbsync.alerts.book import Standing
from dbsync.alerts.kept import Kept, written
from dbsync.relay.database import Database


class Told:
    """The alerts that stand."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_up(self) -> list[Standing]:
        """Give what stood when the service ended, and somebody heard of it."""
        found = (_kept(row).standing(hint=row["hint"], level=row["level"]) for row in self._rows())
        return [one for one in found if one is not None]

    def keep(self, standing: Iterable[Standing]) -> None:
        """Keep what stands now, and forget what does not any more."""
        with self._database.transaction():
            self._database.change("DELETE FROM alert")
            for row in written(standing):
                moments = {name: row[name] and row[name].isoformat() for name in ("since", "told_at")}
                self._database.change(
                    "INSERT INTO alert (alert, subject, severity, what, hint, level, since, told_at, trouble)"
                    " VALUES (:alert, :subject, :severity, :what, :hint, :level, :since, :told_at, :trouble)",
                    **{**row, **moments},
                )

    def all(self) -> tuple[Kept, ...]:
        """Give all that stands."""
        return tuple(_kept(row) for row in self._rows())

    def _rows(self) -> list[sqlite3.Row]:
        return self._database.rows("SELECT * FROM alert ORDER BY since, alert, subject")


def _kept(row: sqlite3.Row) -> Kept:
    return Kept(
        alert=row["alert"],
        subject=row["subject"],
        severity=row["severity"],
        what=row["what"],
        since=datetime.fromisoformat(row["since"]),
        told_at=None if row["told_at"] is None else datetime.fromisoformat(row["told_at"]),
        trouble=row["trouble"],
    )
