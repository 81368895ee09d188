"""Places: addresses at which laptops may be met, and how that went. In the relay's SQLite file."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from dbsync.relay.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An address, and who was there last."""

    url: str
    node: str | None
    """None before anybody was met there."""
    visited_at: datetime | None
    """When a visit last came to its end."""
    trouble: str | None
    """Why the last one did not."""


class Places:
    """The addresses that a relay was told of."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def remember(self, url: str) -> None:
        """Go there from now on."""
        self._database.change("INSERT INTO place (url) VALUES (:url) ON CONFLICT DO NOTHING", url=url)

    def forget(self, url: str) -> bool:
        """Go there no more; False where nobody ever did."""
        return self._database.change("DELETE FROM place WHERE url = :url", url=url) == 1

    def all(self) -> list[Place]:
        """Give them all."""
        return [_place(row) for row in self._database.rows("SELECT * FROM place ORDER BY node, url")]

    def visited(self, url: str, node: str) -> None:
        """Note that a node was met, and that nothing was in the way."""
        self._database.change(
            "UPDATE place SET node = :node, visited_at = :now, trouble = NULL WHERE url = :url",
            url=url,
            node=node,
            now=datetime.now(UTC).isoformat(timespec="microseconds"),
        )

    def troubled(self, url: str, trouble: str) -> None:
        """Note what was in the way."""
        self._database.change("UPDATE place SET trouble = :trouble WHERE url = :url", url=url, trouble=trouble)


def _place(row: sqlite3.Row) -> Place:
    at = row["visited_at"]
    return Place(
        url=row["url"],
        node=row["node"],
        visited_at=None if at is None else datetime.fromisoformat(at),
        trouble=row["trouble"],
    )
