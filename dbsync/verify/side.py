"""One database as a comparison sees it: in one snapshot, asked by SQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow, tuple_row

from dbsync.catalog.inspect import inspect
from dbsync.model.names import TableName
from dbsync.postgres import SETTINGS, translated
from dbsync.statements import statement
from dbsync.verify.compare import Bucket, Content, Cut, Row
from dbsync.verify.report import Key, Place
from dbsync.verify.rows import RowSql
from dbsync.verify.sketch import Item, Sketch
from dbsync.verify.views import Family, View

Connection = psycopg.Connection[Any]
_FETCHED = 2_000
"""Rows a round trip of a cursor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A row as it is now."""

    item: Item
    key: Key
    place: Place
    gone: bool
    """Whether a reference that nothing holds has lost its target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSide:
    """A database, asked by SQL inside its snapshot."""

    connection: Connection
    name: str
    """``source`` or ``upstream``, for errors."""
    said: RowSql
    """How it says the rows of the one table that is compared."""
    placed: bool = False
    """Whether its rows say where they are."""

    def buckets(self, bits: int, within: Cut) -> Iterable[Bucket]:
        """Sum up buckets in one pass over the table."""
        query = self._hashed("buckets", bits=bits, within=within.bits, numbers=list(within.numbers))
        with translated(self.name), self.connection.cursor(row_factory=tuple_row) as cursor:
            return [Bucket(number=n, rows=rows, digest=digest) for n, rows, digest in cursor.execute(query)]

    def rows(self, cut: Cut) -> Iterator[Row]:
        """Stream the rows of buckets through a cursor of the server's."""
        query = self._hashed("rows", bits=cut.bits, numbers=list(cut.numbers), placed=self.placed)
        for bucket, key, digest, loose, place in self._stream(query):
            yield Row(bucket=bucket, key=tuple(key), digest=digest, loose=tuple(loose), place=tuple(place))

    def contents(self, keys: Sequence[Key]) -> Iterator[tuple[Key, Content]]:
        """Stream the contents of the rows with these keys."""
        yield from self._of_keys("contents", keys)

    def digests(self, keys: Sequence[Key]) -> Iterator[tuple[Key, Content]]:
        """Stream digests of the contents of the rows with these keys."""
        yield from self._of_keys("digests", keys)

    def counts(self) -> tuple[int, int]:
        """Count its rows: those with a key, and those whose key cannot be said."""
        with translated(self.name), self.connection.cursor(row_factory=tuple_row) as cursor:
            row = cursor.execute(self._hashed("counts")).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    def items(self) -> Iterator[Item]:
        """Stream all rows that have a key, in order."""
        query = statement("verify", "all_items").format(items=self._hashed("items"))
        yield from ((place, digest) for place, digest in self._stream(query))

    def sketch(self, width: int) -> Sketch:
        """Sum up all rows that have a key."""
        query = statement("verify", "sketch").format(items=self._hashed("items"), width=sql.Literal(width))
        with translated(self.name), self.connection.cursor(row_factory=tuple_row) as cursor:
            return Sketch.of(width, {cell: (n, p, d, m) for cell, n, p, d, m in cursor.execute(query)})

    def rows_at(self, places: Sequence[int]) -> Iterator[Found]:
        """Say what is at some places now."""
        for place, digest, key, local, gone in self._stream(self._hashed("rows_at", places=list(places))):
            yield Found(item=(place, digest), key=tuple(key), place=tuple(local), gone=bool(gone))

    def digests_at(self, places: Sequence[int]) -> Iterator[tuple[Item, Content]]:
        """Say what is at some places now, column by column."""
        for place, digest, content, loose in self._stream(self._hashed("digests_at", places=list(places))):
            yield (place, digest), (*content, *loose)

    def _of_keys(self, block: str, keys: Sequence[Key]) -> Iterator[tuple[Key, Content]]:
        wanted = sql.SQL(", ").join(sql.SQL("{}::text[]").format(sql.Literal(list(key))) for key in keys)
        query = statement("verify", block).format(keyed=self._keyed(), keys=wanted)
        for key, content, loose in self._stream(query):
            yield tuple(key), (*content, *loose)

    def _hashed(self, block: str, **values: object) -> sql.Composed:
        hashed = statement("verify", "hashed").format(keyed=self._keyed())
        literals = {name: sql.Literal(value) for name, value in values.items()}
        return statement("verify", block).format(hashed=hashed, **literals)

    def _keyed(self) -> sql.Composed:
        said = self.said
        return statement("verify", "keyed").format(
            table=said.table,
            joins=said.joins,
            key=said.key,
            unkeyed=said.unkeyed,
            local=said.local,
            content=said.content,
            loose=said.loose,
        )

    def _stream(self, query: sql.Composed) -> Iterator[TupleRow]:
        with (
            translated(self.name),
            self.connection.cursor(name="dbsync_verify", row_factory=tuple_row) as cursor,
        ):
            cursor.itersize = _FETCHED
            yield from cursor.execute(query)


@contextmanager
def snapshot(connection: Connection, name: str) -> Iterator[None]:
    """See a database as it is now, until the end: one snapshot, read-only, with the settings pinned."""
    with translated(name), connection.transaction(force_rollback=True):
        connection.execute(statement("verify", "begin"))
        pin = statement("verify", "pin").format(
            names=sql.Literal(list(SETTINGS)), values=sql.Literal(list(SETTINGS.values()))
        )
        connection.execute(pin)
        yield


def families(connection: Connection, tables: Iterable[TableName], name: str) -> dict[tuple[TableName, str], Family]:
    """Say which columns of some tables have an equality that is not that of their text."""
    ordered = sorted(tables)
    query = statement("verify", "families").format(
        schemas=sql.Literal([table.schema for table in ordered]), tables=sql.Literal([table.name for table in ordered])
    )
    with translated(name), connection.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(query).fetchall()
    return {(TableName(schema, table), column): Family(family) for schema, table, column, family in found}


def view_of(connection: Connection, tables: Iterable[TableName], name: str) -> View:
    """Look at some tables of a database."""
    with translated(name):
        catalog = inspect(connection)
    return View(catalog=catalog, families=families(connection, tables, name))


def encoding_of(connection: Connection, name: str) -> str:
    """Name a database's encoding: text is hashed as bytes."""
    with translated(name), connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(statement("verify", "encoding")).fetchone()
    assert row is not None
    return str(row[0])
