"""SQL to paste, in words that PostgreSQL takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import LiteralString

from psycopg import sql

from dbsync.model.names import TableName

_MANY = 8


def identifier(*parts: str) -> str:
    """Quote a name for a remedy."""
    return sql.Identifier(*parts).as_string(None)


def table(name: TableName) -> str:
    """Quote a table, with its schema."""
    return identifier(name.schema, name.name)


def grants(privileges: Sequence[str], tables: Collection[TableName], role: str) -> Iterator[str]:
    """Say how to grant privileges on tables: one by one where they are few, else on all of a schema."""
    for schema in sorted({name.schema for name in tables}):
        names = [table(name) for name in sorted(tables) if name.schema == schema]
        on = ", ".join(names) if len(names) <= _MANY else f"ALL TABLES IN SCHEMA {identifier(schema)}"
        yield f"GRANT {', '.join(privileges)} ON {on} TO {identifier(role)};"


def listed(names: Sequence[object]) -> str:
    """List names in a sentence, not more than a reader takes in."""
    shown = ", ".join(str(name) for name in names[:_MANY])
    rest = len(names) - _MANY
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def filled(template: LiteralString, value: str) -> str:
    """Fill a value into SQL to paste."""
    return sql.SQL(template).format(value).as_string(None)
