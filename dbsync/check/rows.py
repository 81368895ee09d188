"""Rows that are larger than what PostgreSQL can say in one piece, told by their lengths and from samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from psycopg import sql

from dbsync.check.finding import error, warning
from dbsync.check.side import Session
from dbsync.keys.expression import Query, Sql, column_sql, table_sql
from dbsync.keys.problems import in_config
from dbsync.model.findings import Finding
from dbsync.model.names import TableName
from dbsync.model.registration import RegisteredTable
from dbsync.model.words import size
from dbsync.statements import statement

LARGE = 100_000_000
"""Bytes of a row's values, as the change log writes them, that make shipping it slow work."""
LARGEST = 950_000_000
"""About what PostgreSQL can hold in one value, and therefore in one change."""
WIDE = 4
"""A column that may be so many times shorter than the row is one of those that make it long."""
PAGES = 1_000
"""Pages of a table that are looked at; what is stored beside them is not read."""
_TOLD = {"bytea": 2, "text": 1, "character varying": 1}
"""Types that say their length without being read, and how many characters a byte of them is in the change log."""


def of_rows(session: Session, tables: Iterable[RegisteredTable]) -> Iterator[Finding]:
    """Find tables with rows of which one change would be hundreds of megabytes, or would not be possible at all."""
    by_name = {one.name: one for one in tables}
    asked = {
        "schemas": [name.schema for name in by_name],
        "names": [name.name for name in by_name],
        "bytes": LARGE // max(_TOLD.values()),
    }
    for schema, name, _, pages in session.execute(statement("health", "stored_apart"), asked).fetchall():
        registered = by_name[TableName(schema, name)]
        lengths = _lengths(registered)
        if not lengths:
            continue
        row = session.execute(_largest(registered.name, lengths, pages)).fetchone()
        assert row is not None
        if row[0] >= LARGE:
            wide = [column for column, length in zip(lengths, row[1:], strict=True) if length >= row[0] / WIDE]
            yield _oversize(registered, row[0], wide, sampled=pages > PAGES)


def _lengths(registered: RegisteredTable) -> dict[str, Sql]:
    """Say how many bytes a column's value is in the change log, for those where that can be told."""
    found: dict[str, Sql] = {}
    for name in registered.values:
        column = registered.table.column(name)
        if column is not None and column.cast in _TOLD:
            found[name] = sql.SQL("coalesce(pg_catalog.octet_length({}), 0)::bigint * {}").format(
                column_sql("r", name), sql.Literal(_TOLD[column.cast])
            )
    return found


def _largest(name: TableName, lengths: dict[str, Sql], pages: int) -> Query:
    few = statement("health", "sample").format(percent=sql.Literal(100 * PAGES / max(pages, 1)))
    return statement("health", "largest_row").format(
        together=sql.SQL(" + ").join(lengths.values()),
        each=sql.SQL(", ").join(sql.SQL("coalesce(max({}), 0)").format(length) for length in lengths.values()),
        table=table_sql(name),
        sample=few if pages > PAGES else sql.SQL(""),
    )


def _oversize(registered: RegisteredTable, found: int, wide: list[str], *, sampled: bool) -> Finding:
    about = " (among a sample of its rows)" if sampled else ""
    columns = ", ".join(f'"{name}"' for name in wide)
    remedy = in_config(
        registered.name, f"exclude = [{columns}]   # then: dbsync install-triggers; upstream keeps what it has"
    )
    if found >= LARGEST:
        what = f"a row takes {size(found)} in the change log{about}: more than PostgreSQL can hold, so writing it fails"
        return error("row_oversize", str(registered.name), what, remedy)
    what = f"a row takes {size(found)} in the change log{about}; from about {size(LARGEST)} on writing it fails"
    return warning("row_oversize", str(registered.name), what, remedy)
