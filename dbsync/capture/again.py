"""Looking a key up once more, where the lookup within a capture statement found none.

Such a lookup waits for whoever is changing the rows that it runs through. When it goes on, PostgreSQL looks at the row
that was locked as it is now, but at the rows joined to it as they were: a visit that was moved to another subject meets
neither, and no key is found though the row is there. A statement of its own sees all of them as they are now. It is
made inside of a function that a capture statement calls, so nothing is asked where every key was found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from psycopg import sql

from dbsync.keys.expression import Sql, key_behind, points_at, qualified, table_sql, text_array, text_of, value_of
from dbsync.model.catalog import Catalog, Column
from dbsync.model.names import TableName
from dbsync.model.registration import KeyReference, RegisteredTable
from dbsync.statements import statement

ATTEMPTS = 3
"""Each may have waited for somebody again; then the reference stays open, and the reader looks for its key."""
SIGNATURE = "(place pg_catalog.int4, ids pg_catalog.text[])"


def function_name(table: TableName, purpose: str) -> str:
    """Name a function for a table within 63 bytes, whatever the table is called."""
    return f"{purpose}_{hashlib.sha256(qualified(table).encode()).hexdigest()[:16]}"


def again_body(table: RegisteredTable, catalog: Catalog) -> str:
    """Compose the function's source; empty where the table has no reference that is looked up by joins."""
    cases = list(_cases(table, catalog))
    if not cases:
        return ""
    body = statement("capture", "again_body").format(
        attempts=sql.Literal(ATTEMPTS), cases=sql.SQL("\n        ").join(cases)
    )
    return body.as_string(None)


def found_or_again(key: Sql, reference: KeyReference, place: int, alias: str, *, table: RegisteredTable) -> Sql:
    """Say a reference's key as it was looked up, and else once more."""
    if reference.target.row_id:
        return key
    own = _own(reference, table)
    return statement("capture", "found_or_again").format(
        key=key,
        refers=sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier(alias, c.name)) for c in own),
        function=sql.Identifier("dbsync", function_name(table.name, "again")),
        place=sql.Literal(place),
        ids=text_array([text_of(alias, column) for column in own]),
    )


def _cases(table: RegisteredTable, catalog: Catalog) -> Iterator[Sql]:
    for place, reference in enumerate(table.references):
        if reference.target.row_id:
            continue
        values = [
            value_of(sql.SQL("ids[{}]").format(sql.Literal(i)), column)
            for i, column in enumerate(_own(reference, table), start=1)
        ]
        yield statement("capture", "again_case").format(
            place=sql.Literal(place),
            target=table_sql(reference.target.table),
            points_to=points_at(reference, "t", values, catalog),
            key=key_behind(reference, values, catalog),
        )


def _own(reference: KeyReference, table: RegisteredTable) -> list[Column]:
    found = [table.table.column(name) for name in reference.columns]
    return [column for column in found if column is not None]
