"""Resending: rows go into the change log once more as they are now, through the same door as a backfill.

Rows are chosen by natural key, or by *place*: the primary key as text, which never leaves the node. All of it runs in the
caller's transaction, so that rows which refer to each other can be logged in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import psycopg
from psycopg import sql

from dbsync.capture.layouts import know_layout
from dbsync.capture.logging_sql import BACKFILL, Form, log_insert
from dbsync.keys.expression import (
    Query,
    Sql,
    column_sql,
    local_id,
    points_to,
    qualified,
    table_sql,
    text_array,
    value_of,
)
from dbsync.model.catalog import Catalog, Column, Table
from dbsync.model.names import TableName
from dbsync.model.registration import GenericReference, KeyColumn, KeyReference, KeyTree, RegisteredTable
from dbsync.statements import statement

Key = tuple[str | None, ...]
"""The leaves of a natural key, as text."""
Place = tuple[str, ...]
"""A row's primary key as text; of a table without one, where the row lies."""

_Item = TypeVar("_Item")

CHUNK = 1_000
"""Rows looked up or locked by one statement."""

_CTID = Column(name="ctid", type="tid", cast="tid", nullable=False)
_UUID = Column(name="row_key", type="uuid", cast="uuid", nullable=False)


def find(
    connection: psycopg.Connection, table: RegisteredTable, catalog: Catalog, keys: Sequence[Key]
) -> dict[Key, Place]:
    """Find the rows with some natural keys; a key that names no row is not in the answer.

    Raises psycopg's DataError for a leaf that its column's type does not take.
    """
    found: dict[Key, Place] = {}
    for chunk in _chunks(keys):
        for number, place in connection.execute(_find(table, catalog, chunk)).fetchall():
            found[chunk[number - 1]] = tuple(place)
    return found


def log(connection: psycopg.Connection, table: RegisteredTable, catalog: Catalog, rows: Sequence[Place]) -> int:
    """Put rows into the change log as they are now; give how many are still there.

    They are locked against changes until the caller's transaction ends.
    """
    know_layout(connection, table)
    logged = 0
    for chunk in _chunks(rows):
        if table.key.row_id:
            connection.execute(_give_row_keys(table, chunk))
        row = connection.execute(_log(table, catalog, chunk)).fetchone()
        logged += int(row[0]) if row else 0
    return logged


def parents(
    connection: psycopg.Connection, table: RegisteredTable, catalog: Catalog, rows: Sequence[Place]
) -> dict[TableName, set[Place]]:
    """Find the rows that some rows refer to, by any of their references."""
    found: dict[TableName, set[Place]] = {}
    for chunk in _chunks(rows):
        for target, query in _parent_queries(table, catalog, chunk):
            places = (tuple(place) for (place,) in connection.execute(query).fetchall())
            found.setdefault(target, set()).update(places)
    return found


def _chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Part keys or places into what one statement takes."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def has_key(tree: KeyTree, alias: str, leaves: Sequence[Sql], catalog: Catalog, depth: int = 0) -> Sql:
    """Say that the row ``alias`` has a natural key, whose leaves are expressions that give text.

    A reference in the key is the id of the row found by the leaves behind it: a scalar subquery, so that each step goes
    through an index, whatever the number of rows.
    """
    table = catalog.tables[tree.table]
    if tree.row_id:
        return sql.SQL(" AND ").join(_has_row_id(tree, alias, leaves[0], table))
    conditions: list[Sql] = []
    first = 0
    for part in tree.parts:
        width = 1 if isinstance(part, KeyColumn) else part.target.width
        own = leaves[first : first + width]
        first += width
        if isinstance(part, KeyColumn):
            conditions.append(
                _equals(alias, _column(table, part.column), value_of(own[0], _column(table, part.column)), own)
            )
        else:
            conditions += _refers(part, alias, table, own, catalog, depth + 1)
    return sql.SQL(" AND ").join(conditions)


def _has_row_id(tree: KeyTree, alias: str, leaf: Sql, table: Table) -> Iterator[Sql]:
    """Say that the row has a UUID: by its primary key as ``dbsync.row_key`` knows it, so that its index is used."""
    known = sql.SQL("(SELECT k.local_id FROM dbsync.row_key k WHERE k.relation = {} AND k.row_key = {})").format(
        sql.Literal(qualified(tree.table)), value_of(leaf, _UUID)
    )
    for i, column in enumerate((_column(table, name) for name in tree.row_id), start=1):
        text = known if len(tree.row_id) == 1 else sql.SQL("({}::pg_catalog.text[])[{}]").format(known, sql.Literal(i))
        yield _equals(alias, column, value_of(text, column), [leaf])


def _refers(
    part: KeyReference, alias: str, table: Table, leaves: Sequence[Sql], catalog: Catalog, depth: int
) -> Iterator[Sql]:
    target = f"t{depth}"
    for here, there in zip(part.columns, part.target_columns, strict=True):
        found = sql.SQL("(SELECT {} FROM {} {} WHERE {})").format(
            column_sql(target, there),
            table_sql(part.target.table),
            sql.Identifier(target),
            has_key(part.target, target, leaves, catalog, depth),
        )
        yield _equals(alias, _column(table, here), found, leaves)


def _equals(alias: str, column: Column, value: Sql, leaves: Sequence[Sql]) -> Sql:
    """Equate a column with a value; null is the same as null only where every leaf is null."""
    left = column_sql(alias, column.name)
    same = sql.SQL("{} {} {}").format(left, sql.SQL(column.equals), value)  # from the catalog
    if not column.nullable:
        return same
    return sql.SQL("({} OR ({} IS NULL AND coalesce({}) IS NULL))").format(same, left, sql.SQL(", ").join(leaves))


def _column(table: Table, name: str) -> Column:
    column = table.column(name)
    assert column is not None, (table.name, name)
    return column


def _place_columns(table: Table) -> list[Column]:
    return [_column(table, name) for name in table.primary_key] or [_CTID]


def _place(table: Table, alias: str) -> Sql:
    """Say a row's place."""
    return text_array([local_id(alias, [column.name]) for column in _place_columns(table)])


def _given(rows: Sequence[Sequence[str | None]], width: int) -> dict[str, Sql]:
    """Say rows of text as the columns ``w1``, ``w2`` ... of ``w``."""
    columns = [
        sql.SQL("pg_catalog.unnest({}::pg_catalog.text[])").format(sql.Literal([row[i] for row in rows]))
        for i in range(width)
    ]
    names = [sql.Identifier(f"w{i}") for i in range(1, width + 1)]
    return {"values": sql.SQL(", ").join(columns), "names": sql.SQL(", ").join(names)}


def _at(table: Table, rows: Sequence[Place], alias: str = "t") -> dict[str, Sql]:
    """Say the rows at some places, as the placeholders of a statement."""
    columns = _place_columns(table)
    same = [
        sql.SQL("{} {} {}").format(
            column_sql(alias, column.name), sql.SQL(column.equals), value_of(column_sql("w", f"w{i}"), column)
        )
        for i, column in enumerate(columns, start=1)
    ]
    return {"table": table_sql(table.name), "same": sql.SQL(" AND ").join(same), **_given(rows, len(columns))}


def _find(table: RegisteredTable, catalog: Catalog, keys: Sequence[Key]) -> Query:
    leaves = [column_sql("w", f"w{i}") for i in range(1, table.key.width + 1)]
    return statement("resend", "find").format(
        local=_place(table.table, "t"),
        table=table_sql(table.name),
        same=has_key(table.key, "t", leaves, catalog),
        **_given(keys, table.key.width),
    )


def _give_row_keys(table: RegisteredTable, rows: Sequence[Place]) -> Query:
    return statement("resend", "give_row_keys").format(
        relation=sql.Literal(qualified(table.name)),
        local_id=local_id("t", table.key.row_id),
        **_at(table.table, rows),
    )


def _log(table: RegisteredTable, catalog: Catalog, rows: Sequence[Place]) -> Query:
    form = Form(table=table, catalog=catalog)
    return statement("resend", "log").format(
        log=log_insert(form, op=BACKFILL, rows=sql.Identifier("chunk")), **_at(table.table, rows)
    )


def _parent_queries(
    table: RegisteredTable, catalog: Catalog, rows: Sequence[Place]
) -> Iterator[tuple[TableName, Query]]:
    at = _at(table.table, rows)
    for reference in table.references:
        target = catalog.tables[reference.target.table]
        yield (
            target.name,
            statement("resend", "parents").format(
                local=_place(target, "p"),
                target=table_sql(target.name),
                points_to=points_to(reference, "p", "t", catalog),
                **at,
            ),
        )
    for generic in table.generics:
        yield from _generic_queries(generic, catalog, at)


def _generic_queries(
    generic: GenericReference, catalog: Catalog, at: Mapping[str, Sql]
) -> Iterator[tuple[TableName, Query]]:
    for model, tree in sorted(generic.targets.items()):
        target = catalog.tables[tree.table]
        if len(target.primary_key) == 1:
            yield (
                target.name,
                statement("resend", "generic_parents").format(
                    local=_place(target, "p"),
                    types=sql.Identifier("public", "django_content_type"),
                    type=column_sql("t", generic.type_column),
                    model=sql.Literal(model),
                    target=table_sql(target.name),
                    target_id=local_id("p", target.primary_key),
                    id=column_sql("t", generic.id_column),
                    **at,
                ),
            )
