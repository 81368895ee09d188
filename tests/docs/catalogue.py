"""docs/reference/schema.md: the tables, views and functions of the dbsync schema, as the catalog of a database tells them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from dbsync import schema
from tests.support.servers import own_cluster

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "schema.md"
VERSION = 15
_LEAD = """\
# Tables and views

dbsync keeps what it knows in a schema of its own, `dbsync`, the same at every node and server. A DBA may read all of it with plain
SQL; writing there is dbsync's own business. `psql` shows the same words: `\\d+ dbsync.change`. This page is made from them by
`python -m tests.docs.manual`, and a test finds whatever is without.

`dbsync_reader` is the role for whoever watches: it reads what has a dot in the third column, and no row's values. Both views answer
with the service stopped and the upstream away:

```sql
SELECT link, state, reason, last_batch FROM dbsync.status;
SELECT number, changes, sent_at FROM dbsync.batch WHERE acknowledged_at IS NULL;
```
"""
_RELATIONS: LiteralString = """
SELECT c.oid::bigint, c.relname, c.relkind::text, pg_catalog.obj_description(c.oid, 'pg_class')
FROM pg_catalog.pg_class c
WHERE c.relnamespace = 'dbsync'::regnamespace AND c.relkind IN ('r', 'v')
ORDER BY c.relkind = 'r', c.relname
"""
_COLUMNS: LiteralString = """
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.col_description(a.attrelid, a.attnum),
       pg_catalog.has_column_privilege('dbsync_reader', a.attrelid, a.attnum, 'SELECT')
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = %s::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_FUNCTIONS: LiteralString = """
SELECT p.oid::regprocedure::text, pg_catalog.obj_description(p.oid, 'pg_proc')
FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'dbsync'::regnamespace ORDER BY p.proname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What a database with dbsync's schema says of it."""

    relations: tuple[tuple[Any, ...], ...]
    columns: dict[int, tuple[tuple[Any, ...], ...]]
    functions: tuple[tuple[Any, ...], ...]

    @classmethod
    def read(cls, connection: psycopg.Connection[Any]) -> Catalogue:
        """Ask a database in which nothing but the schema is installed."""
        relations = tuple(connection.execute(_RELATIONS))
        columns = {oid: tuple(connection.execute(_COLUMNS, [oid])) for oid, *_ in relations}
        return cls(relations=relations, columns=columns, functions=tuple(connection.execute(_FUNCTIONS)))

    def without_words(self) -> Iterator[str]:
        """Name what does not say what it means."""
        for oid, name, _, words in self.relations:
            if not words:
                yield name
            yield from (f"{name}.{column}" for column, _, said, _ in self.columns[oid] if not said)
        yield from (name for name, words in self.functions if not words)

    def page(self) -> str:
        """Make the page."""
        return "\n".join([_LEAD, *self._relations(), *self._functions()])

    def _relations(self) -> Iterator[str]:
        for oid, name, kind, words in self.relations:
            yield from (f"## dbsync.{name}", "", f"{'A view. ' if kind == 'v' else ''}{words}", "")
            yield from ("| column | type | reader | what |", "|---|---|---|---|")
            for column, type_, said, readable in self.columns[oid]:
                yield f"| `{column}` | {type_.replace('timestamp with time zone', 'timestamptz')} | {'•' * readable} | {said} |"
            yield ""

    def _functions(self) -> Iterator[str]:
        yield from ("## Functions", "", "Beside those that the triggers of each table call:", "")
        yield from ("| function | what |", "|---|---|")
        yield from (f"| `{name}` | {words} |" for name, words in self.functions)
        yield ""


def page() -> str:
    """Make the page, of a database made for that."""
    with own_cluster(VERSION) as cluster:
        cluster.create_database("words")
        schema.upgrade(cluster.dsn("words"), "source")
        with psycopg.connect(cluster.dsn("words")) as connection:
            return Catalogue.read(connection).page()
