"""Backfill: rows that were there before the triggers go into the change log, through the same door as all others.

Chunks go by primary key, each one transaction with its progress, so a backfill that was cut goes on where it was. A row
whose primary key changes under it may be passed over: then the update is in the log, which has the whole row.
Tables are done in the order of their references. A table that refers to itself, and tables that refer to each other, go
in one transaction together: a batch holds it whole, so that every row finds the one it refers to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from dbsync.capture.layouts import know_layout
from dbsync.capture.logging_sql import BACKFILL, Form, log_insert
from dbsync.capture.trigger import fill_row_keys, hidden
from dbsync.errors import Refusal
from dbsync.keys.expression import (
    Query,
    Sql,
    column_sql,
    compares,
    qualified,
    table_sql,
    text_array,
    text_of,
    value_of,
)
from dbsync.model.catalog import Catalog, Column
from dbsync.model.names import TableName
from dbsync.model.registration import RegisteredTable, Registry
from dbsync.statements import statement

CHUNK = 5_000
"""Rows locked and logged at a time."""

Progress = Callable[[TableName, int], None]


def groups(tables: Sequence[RegisteredTable]) -> list[list[RegisteredTable]]:
    """Order tables so that what is referred to comes first; those that refer to each other form one group.

    Tables with generic references, which may point to any row, come as late as others let them: no group is made for those.

    Tarjan's algorithm (R. Tarjan, Depth-first search and linear graph algorithms, 1972).
    """
    by_name = {table.name: table for table in tables}
    index: dict[TableName, int] = {}
    low: dict[TableName, int] = {}
    stack: list[TableName] = []
    found: list[list[RegisteredTable]] = []

    def visit(name: TableName) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in _targets(by_name[name], by_name.keys()):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            place = stack.index(name)
            found.append([by_name[member] for member in stack[place:]])
            del stack[place:]

    for name in sorted(by_name, key=lambda name: (bool(by_name[name].generics), name)):
        if name not in index:
            visit(name)
    return found


def backfill(
    connection: psycopg.Connection,
    registry: Registry,
    catalog: Catalog,
    tables: Sequence[TableName],
    progress: Progress,
    *,
    again: bool = False,
) -> int:
    """Log the rows of the tables that are not logged yet; give the number of rows logged now.

    ``again`` begins anew with tables that were finished.
    """
    chosen = [table for table in registry.shipped() if table.name in tables]
    total = 0
    for group in groups(chosen):
        pending = [table for table in group if _begin(connection, table.name, again=again)]
        for table in pending:
            _refuse_hidden(connection, table)
            if table.key.row_id:
                connection.execute(fill_row_keys(table))  # those that came while its triggers were disabled
        if len(group) > 1 or refers_to_itself(group[0]):
            with connection.transaction():
                total += sum(_whole(connection, table, catalog, progress) for table in pending)
        else:
            total += sum(_whole(connection, table, catalog, progress) for table in pending)
    return total


def hold(table: TableName) -> Query:
    """Compose what keeps a backfill of a table from going on until the end of the transaction."""
    return statement("capture", "backfill_hold").format(relation=sql.Literal(qualified(table)))


def owe(table: TableName, unseen: Sequence[TableName]) -> Query:
    """Compose what notes that the backfill of a table is to be done, or done anew, if there is a row in what was ``unseen`` of it."""
    rows = (sql.SQL("EXISTS (SELECT FROM {})").format(table_sql(part)) for part in unseen)
    return statement("capture", "backfill_owed").format(
        relation=sql.Literal(qualified(table)), rows=sql.SQL(" OR ").join(rows)
    )


def _refuse_hidden(connection: psycopg.Connection, table: RegisteredTable) -> None:
    """Raise Refusal where policies may keep rows from this login: they would be missing upstream, and the backfill be through."""
    hides = statement("capture", "hides").format(hidden=hidden(sql.Literal(table.table.oid), "{r,w}"))
    row = connection.execute(hides).fetchone()
    if row is not None and row[0]:
        policy = statement("capture", "show_all").format(
            table=table_sql(table.name), login=sql.Identifier(connection.info.user)
        )
        raise Refusal(
            f"rows of {table.name} may be hidden from {connection.info.user}",
            where="source",
            why="row-level security is on for the table, and no policy shows this login all of it",
            hint=f"as the table's owner: {policy.as_string(connection)};",
        )


def _whole(connection: psycopg.Connection, table: RegisteredTable, catalog: Catalog, progress: Progress) -> int:
    total = 0
    know_layout(connection, table)
    for rows in _chunks(connection, table, catalog):
        total += rows
        progress(table.name, rows)
    return total


def _chunks(connection: psycopg.Connection, table: RegisteredTable, catalog: Catalog) -> Iterator[int]:
    relation = qualified(table.name)
    while True:
        with connection.transaction():
            known = connection.execute(statement("capture", "backfill_progress"), {"relation": relation}).fetchone()
            last = known[0] if known else None
            row = connection.execute(_chunk(table, catalog, last)).fetchone()
            assert row is not None
            scanned, rows, last = row
            finished = scanned < CHUNK or not table.table.primary_key
            connection.execute(
                statement("capture", "backfill_advance"),
                {"relation": relation, "last_key": last, "rows": rows, "finished": finished},
            )
        yield int(rows)
        if finished:
            return


def _begin(connection: psycopg.Connection, table: TableName, *, again: bool) -> bool:
    """Enter a table's backfill; say whether anything is left to do."""
    relation = {"relation": qualified(table)}
    connection.execute(statement("capture", "backfill_begin"), relation)
    if again:
        connection.execute(statement("capture", "backfill_restart"), relation)
    row = connection.execute(statement("capture", "backfill_progress"), relation).fetchone()
    return row is not None and not row[1]


def _chunk(table: RegisteredTable, catalog: Catalog, last: Sequence[str] | None) -> Query:
    """Compose the logging of the rows behind a key; of the whole table where it has no primary key to go by."""
    key = [column for name in table.table.primary_key if (column := table.table.column(name)) is not None]
    behind: Sql = sql.SQL("true")
    if last is not None:
        behind = compares(key, "t", ">", [value_of(sql.Literal(text), c) for text, c in zip(last, key, strict=True)])
    bound = [sql.SQL("(SELECT {} FROM bound b)").format(column_sql("b", column.name)) for column in key]
    return statement("capture", "backfill_chunk").format(
        table=table_sql(table.name),
        scanned=sql.SQL(", ").join(column_sql("t", column.name) for column in key),
        behind=behind,
        until=compares(key, "t", "<=", bound) if key else sql.SQL("true"),
        order=_order("t", key, "ASC"),
        order_desc=_order("n", key, "DESC"),
        limit=sql.Literal(CHUNK) if key else sql.NULL,
        log=log_insert(Form(table=table, catalog=catalog), op=BACKFILL, rows=sql.Identifier("chunk")),
        last=text_array([text_of("n", column) for column in key]) if key else sql.NULL,
    )


def _order(alias: str, key: Sequence[Column], direction: LiteralString) -> Sql:
    if not key:
        return sql.SQL("")
    each = (sql.SQL("{} {}").format(column_sql(alias, column.name), sql.SQL(direction)) for column in key)
    return sql.SQL("ORDER BY {}").format(sql.SQL(", ").join(each))


def _targets(table: RegisteredTable, present: object) -> list[TableName]:
    assert hasattr(present, "__contains__")
    return sorted(target for target in _referred(table) - {table.name} if target in present)


def refers_to_itself(table: RegisteredTable) -> bool:
    """Say whether rows of a table refer to rows of the same table."""
    return table.name in _referred(table)


def _referred(table: RegisteredTable) -> set[TableName]:
    """Give the tables that rows refer to: by references, and by foreign keys on values that travel as they are."""
    return {r.target.table for r in table.references} | {key.target for key in table.table.foreign_keys}
