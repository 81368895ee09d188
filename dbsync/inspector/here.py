"""What this node has captured and has no receipt for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import psycopg

from dbsync import schema
from dbsync.apply.lists import keep
from dbsync.config.models import Config
from dbsync.identity.keys import Keys
from dbsync.identity.lists import CheckedList, write_list
from dbsync.inspector.changes import PAGE, Change, Checked, Heap, Pile, Raw, Wanted, read
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.postgres import connect, translated
from dbsync.service.backlog import backlog
from dbsync.statements import statement

EVERYTHING = 2**31
_FETCHED = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """The change log of a node, as far as its upstream has no receipt for it."""

    config: Config

    @property
    def place(self) -> str:
        """Name the node."""
        return self.config.node.name

    def heap(self) -> Heap:
        """Count what is pending."""
        with self._connection() as connection, translated("source"):
            tables = backlog(connection, self.config.upstream.label).tables
        return Heap(
            piles=tuple(
                Pile(node=self.place, table=str(_table(name)), changes=found.changes, oldest=found.oldest)
                for name, found in tables.items()
            )
        )

    def changes(self, wanted: Wanted) -> Iterator[Change]:
        """Read one page more one."""
        return self._read(wanted, most=PAGE + 1, skip=wanted.page * PAGE)

    def all_of(self, table: str, node: str) -> Iterator[Change]:
        """Read all that is pending of one table."""
        return self._read(Wanted(table=table, node=node), most=EVERYTHING, skip=0)

    def keep(self, checked: Checked, *, identity: UUID, at: datetime) -> CheckedList:
        """Keep it in the node's database; the service brings it to the upstream."""
        found = checked.by(self.place, identity=identity, at=at)
        signed = write_list(found, Keys.load(Path(self.config.node.keys)))
        with self._connection() as connection, translated("source"):
            keep(connection, signed, own=True)
        return found

    def _read(self, wanted: Wanted, *, most: int, skip: int) -> Iterator[Change]:
        asked = {
            "link": self.config.upstream.label,
            "own": self.place,
            "node": wanted.node,
            "relation": _relation(wanted.table),
            "since": wanted.since,
            "text": wanted.text,
            "most": most,
            "skip": skip,
        }
        with (
            self._connection() as connection,
            translated("source"),
            connection.transaction(),
            connection.cursor(name="inspector") as cursor,
        ):
            cursor.itersize = _FETCHED
            for origin, definition, op, at, *values in cursor.execute(statement("inspector", "changes"), asked):
                image, old_image, refs, old_refs = values
                raw = Raw(
                    layout=Layout.read(definition),
                    op=op,
                    at=at,
                    image=image,
                    old_image=old_image,
                    refs=refs,
                    old_refs=old_refs,
                )
                yield read(origin or self.place, raw)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        with connect(self.config.node.source, name="source", application="dbsync inspect") as connection:
            schema.require(connection, "source")
            yield connection


def _table(relation: str) -> TableName:
    """Read ``schema.table`` as the change log has it, unquoted."""
    within, _, name = relation.partition(".")
    return TableName(within, name)


def _relation(table: str) -> str:
    """Write a table as the change log has it; what is no table's name stays as it is, and finds none."""
    if not table:
        return ""
    try:
        name = TableName.parse(table)
    except ValueError:
        return table
    return f"{name.schema}.{name.name}"
