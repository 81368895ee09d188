"""Sealed papers in custody: lists and questions of nodes on their way to the upstream, its answers on their way home.

Their files lie in the spool, beside the bundles. What is known of them is in the relay's SQLite file.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from dbsync.bundle.names import Kind, SealedName
from dbsync.errors import LinkHalted
from dbsync.relay.database import Database

MOST = 500
"""Papers of one node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosed:
    """A paper in custody."""

    name: SealedName
    received_at: datetime
    trouble: str | None
    """Why the upstream did not take it, when it was brought there last."""


class Papers:
    """The papers that a relay has."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, name: SealedName) -> list[SealedName]:
        """Note that one of a node's is in custody; give those whose place it takes: a node asks one question at a time.

        Raises LinkHalted where there are more than any honest node has.
        """
        old = [one.name for one in self.of(name.node) if one.name.kind is not Kind.LIST and one.name.id != name.id]
        superseded = old if name.kind is Kind.QUESTION else []
        with self._database.transaction():
            for one in superseded:
                self.forget(one)
            if len(self.of(name.node)) >= MOST:
                raise LinkHalted(
                    "this relay has no place for more papers of a node", where=name.node, why=f"it has {MOST}"
                )
            self._keep(name)
        return superseded

    def answered(self, question: SealedName) -> SealedName:
        """Note that the answer to a question is here in its place; give the answer's name."""
        answer = replace(question, kind=Kind.ANSWER)
        with self._database.transaction():
            self.forget(question)
            self._keep(answer)
        return answer

    def of(self, node: str) -> list[Enclosed]:
        """Give a node's, the oldest first."""
        return [one for one in self.all() if one.name.node == node]

    def waiting(self) -> list[Enclosed]:
        """Give what is for the upstream, the oldest first."""
        return [one for one in self.all() if one.name.kind is not Kind.ANSWER]

    def all(self) -> list[Enclosed]:
        """Give them all, the oldest first."""
        return [_enclosed(row) for row in self._database.rows("SELECT * FROM sealed ORDER BY received_at, file")]

    def forget(self, name: SealedName) -> bool:
        """Have one no more; False where there is none of that name."""
        return self._database.change("DELETE FROM sealed WHERE file = :file", file=name.file()) == 1

    def troubled(self, name: SealedName, trouble: str) -> None:
        """Note why the upstream did not take one."""
        self._database.change("UPDATE sealed SET trouble = :why WHERE file = :file", file=name.file(), why=trouble)

    def _keep(self, name: SealedName) -> None:
        self._database.change(
            "INSERT INTO sealed (file, node, id, kind, received_at) VALUES (:file, :node, :id, :kind, :now)"
            " ON CONFLICT (file) DO UPDATE SET trouble = NULL",
            file=name.file(),
            node=name.node,
            id=str(name.id),
            kind=name.kind.value,
            now=datetime.now(UTC).isoformat(timespec="microseconds"),
        )


def _enclosed(row: sqlite3.Row) -> Enclosed:
    return Enclosed(
        name=SealedName(node=row["node"], id=UUID(row["id"]), kind=Kind(row["kind"])),
        received_at=datetime.fromisoformat(row["received_at"]),
        trouble=row["trouble"],
    )
