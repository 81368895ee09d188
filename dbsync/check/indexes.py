"""Indexes that are missing where rows are looked for, and indexes that are there and of no use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dbsync.check.finding import warning
from dbsync.check.server import Side
from dbsync.check.side import Session
from dbsync.check.wording import identifier, listed, table
from dbsync.model.findings import Finding
from dbsync.model.names import TableName
from dbsync.statements import statement

LARGE = 10_000
"""Rows from which on reading the whole table for one row is felt."""


def of_invalid(session: Session, side: Side, tables: Iterable[TableName]) -> Iterator[Finding]:
    """Find indexes that failed while they were made."""
    for owner, index, unique in session.execute(statement("health", "invalid_indexes"), _named(tables)).fetchall():
        what = f"the {'unique ' if unique else ''}index {index} of {owner} is invalid: making it failed, and nothing uses it"
        yield warning("index_invalid", side, what, f"REINDEX INDEX CONCURRENTLY {index};")


def of_references(session: Session, tables: Iterable[TableName]) -> Iterator[Finding]:
    """Find references upstream that a delete has to look for row by row; how large tables are says the last ANALYZE."""
    asked = {**_named(tables), "large": LARGE}
    for schema, name, target, rows, columns in session.execute(
        statement("health", "unindexed_references"), asked
    ).fetchall():
        child = TableName(schema, name)
        quoted = ", ".join(identifier(column) for column in columns)
        yield warning(
            "index_missing_upstream",
            str(child),
            f"no index begins with ({listed(columns)}): each delete of {target} reads about {rows:,} rows (estimated)",
            f"CREATE INDEX CONCURRENTLY ON {table(child)} ({quoted});",
        )


def _named(tables: Iterable[TableName]) -> dict[str, list[str]]:
    names = sorted(tables)
    return {"schemas": [name.schema for name in names], "names": [name.name for name in names]}
