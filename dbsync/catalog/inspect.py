"""Read a database's tables, columns, keys and foreign keys from PostgreSQL's own catalogue.

SQLAlchemy's inspector knows nothing of what dbsync decides on: whether a key is immediate or NULLS NOT DISTINCT, which
sequence feeds a column, which operator compares a type, which cast would change a value. So the catalogue is asked
itself, for all tables at once: a handful of statements whatever the size of the schema.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row

from dbsync.catalog.types import TypeFacts, TypeRow, facts_of
from dbsync.model.catalog import Catalog, Column, ForeignKey, Table, UniqueKey
from dbsync.model.names import TableName
from dbsync.statements import statement

AnyConnection = psycopg.Connection[object]


def inspect(connection: AnyConnection, schemas: Sequence[str] | None = None) -> Catalog:
    """Read all tables of a database, or those of some schemas.

    Everything is read in one snapshot, unless the caller's own transaction is open: then its isolation decides, and its
    search_path must be dbsync's. Raises psycopg's errors; nothing is locked.
    """
    with one_snapshot(connection):
        ask = _Questions(connection, list(schemas) if schemas is not None else None)
        (database,) = ask.rows(_DatabaseRow, "database")
        tables = ask.rows(_TableRow, "tables")
        relations = [table.oid for table in tables]
        types = facts_of(ask.rows(TypeRow, "types", relations))
        columns = _grouped(ask.rows(_ColumnRow, "columns", relations))
        keys = _grouped(ask.rows(_KeyRow, "keys", relations))
        foreign_keys = _grouped(ask.rows(_ForeignKeyRow, "foreign_keys", relations))
        partition_keys = _grouped(ask.rows(_ForeignKeyRow, "partition_keys", relations))
    found = [
        _table(
            row,
            tuple(_column(column, types[column.type_oid]) for column in columns[row.oid]),
            keys[row.oid],
            tuple(_foreign_key(key) for key in foreign_keys[row.oid]),
            tuple(_foreign_key(key) for key in partition_keys[row.oid]),
        )
        for row in tables
    ]
    return Catalog(
        database=database.database,
        server_version=database.server_version,
        tables={table.name: table for table in found},
    )


class Inspection:
    """The tables of a database as they are whenever they are asked for, looked at again only where something changed."""

    def __init__(self, connection: AnyConnection) -> None:
        self._connection = connection
        self._seen: tuple[str, Catalog] | None = None

    def now(self) -> Catalog:
        """Give the catalog as it is now; the same object as long as it is the same."""
        now = stamp(self._connection)
        if self._seen is None or self._seen[0] != now:
            found = inspect(self._connection)
            before = found if self._seen is None else self._seen[1]
            self._seen = (now, before if before == found else found)
        return self._seen[1]


def stamp(connection: AnyConnection) -> str:
    """Give something that is another one whenever anything that :func:`inspect` tells may be."""
    row = connection.execute(statement("catalog", "stamp"), prepare=True).fetchone()
    assert isinstance(row, tuple)
    return str(row[0])


@contextmanager
def one_snapshot(connection: AnyConnection) -> Iterator[None]:
    """Read in one snapshot, with the search_path of dbsync; what an open transaction reads in is left as it is."""
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        yield
        return
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        connection.execute("SET LOCAL jit = off")  # compiling took three seconds for a query of 0.07
        yield


def _table(
    row: _TableRow,
    columns: tuple[Column, ...],
    keys: Sequence[_KeyRow],
    foreign_keys: tuple[ForeignKey, ...],
    partition_keys: tuple[ForeignKey, ...],
) -> Table:
    primary = next((_unique(key) for key in keys if key.is_primary), None)
    return Table(
        name=TableName(row.schema, row.name),
        oid=row.oid,
        owner=row.owner,
        kind=row.kind,
        columns=columns,
        primary_key=primary.columns if primary else (),
        primary_key_immediate=primary is None or primary.immediate,
        uniques=tuple(_unique(key) for key in keys if not key.is_primary),
        foreign_keys=foreign_keys,
        partition_keys=partition_keys,
        statement_triggers=row.statement_triggers,
        heirs=row.heirs,
        inherits=row.inherits,
        row_security=row.row_security,
        estimated_rows=row.estimated_rows,
    )


def _column(row: _ColumnRow, facts: TypeFacts) -> Column:
    return Column(
        name=row.name,
        type=row.type,
        cast=facts.cast,
        nullable=row.nullable,
        auto=row.auto,
        sequence=row.sequence,
        generated=row.generated,
        always=row.always,
        watched=row.watched,
        default=row.default,
        out=facts.out,
        into=facts.into,
        equals=facts.equals,
        schemas=facts.schemas,
    )


def _unique(row: _KeyRow) -> UniqueKey:
    return UniqueKey(
        name=row.name,
        columns=tuple(row.columns),
        nulls_not_distinct=row.nulls_not_distinct,
        immediate=row.immediate,
    )


def _foreign_key(row: _ForeignKeyRow) -> ForeignKey:
    return ForeignKey(
        name=row.name,
        columns=tuple(row.columns),
        target=TableName(row.target_schema, row.target_name),
        target_columns=tuple(row.target_columns),
        deferrable=row.deferrable,
        enforced=row.enforced,
        period=row.period,
        acts_on_delete=row.acts_on_delete,
        acts_on_update=row.acts_on_update,
    )


_Row = TypeVar("_Row")


class _OfRelation(Protocol):
    @property
    def relation(self) -> int: ...


_Part = TypeVar("_Part", bound=_OfRelation)


def _grouped(rows: Iterable[_Part]) -> Mapping[int, list[_Part]]:
    groups: defaultdict[int, list[_Part]] = defaultdict(list)
    for row in rows:
        groups[row.relation].append(row)
    return groups


@dataclass(frozen=True, slots=True)
class _Questions:
    connection: AnyConnection
    schemas: list[str] | None

    def rows(self, shape: type[_Row], name: str, relations: Sequence[int] = ()) -> list[_Row]:
        """Ask one of the statements of sql/catalog.sql."""
        with self.connection.cursor(row_factory=class_row(shape)) as cursor:
            cursor.execute(statement("catalog", name), {"schemas": self.schemas, "relations": list(relations)})
            return cursor.fetchall()


@dataclass(frozen=True, slots=True, kw_only=True)
class _DatabaseRow:
    database: str
    server_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _TableRow:
    oid: int
    schema: str
    name: str
    owner: str
    kind: str
    statement_triggers: bool
    heirs: bool
    inherits: bool
    row_security: bool
    estimated_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _ColumnRow:
    relation: int
    name: str
    type_oid: int
    type: str
    nullable: bool
    generated: bool
    always: bool
    watched: bool
    auto: bool
    sequence: str
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeyRow:
    relation: int
    name: str
    is_primary: bool
    columns: Sequence[str]
    nulls_not_distinct: bool
    immediate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _ForeignKeyRow:
    relation: int
    name: str
    columns: Sequence[str]
    target_schema: str
    target_name: str
    target_columns: Sequence[str]
    deferrable: bool
    enforced: bool
    period: bool
    acts_on_delete: bool
    acts_on_update: bool
