"""Sending rows of the source again: what a person names by key, and what ``verify --repair`` finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from dbsync import schema
from dbsync.capture import resend as capture
from dbsync.capture.backfill import groups, refers_to_itself
from dbsync.capture.resend import Key, Place
from dbsync.catalog.inspect import inspect
from dbsync.config.models import Config
from dbsync.errors import UsageError
from dbsync.keys.register import register
from dbsync.model.catalog import Catalog
from dbsync.model.names import TableName
from dbsync.model.registration import Mode, RegisteredTable, Registry
from dbsync.postgres import connect, primary, translated
from dbsync.service import node as nodes
from dbsync.service.install import registered

BITE = 5_000
"""Rows that a repair logs in one transaction, as many as a backfill does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent:
    """What a resend did."""

    rows: tuple[tuple[TableName, int], ...]
    """Rows that are in the change log once more, by table, parents first."""
    absent: tuple[Key, ...] = ()
    """Keys that no row of the source has."""

    @property
    def total(self) -> int:
        """Count the rows."""
        return sum(count for _, count in self.rows)


def width(config: Config, name: TableName) -> tuple[str, ...]:
    """Name the leaves of a shipped table's natural key, in the order in which they are given."""
    with connect(config.node.source, name="source") as connection:
        return _shipped(registered(config, connection).registry, name).key.leaves()


def resend(config: Config, name: TableName, keys: Sequence[Key], *, with_parents: bool = False) -> Resent:
    """Log some rows of a table once more, as they are now, in one transaction.

    ``with_parents`` takes in the rows that they refer to, to any depth. Raises :class:`UsageError` for a table that is
    not shipped and for values that cannot be a key of it.
    """
    with connect(config.node.source, name="source") as connection:
        schema.require(connection, "source")
        found = registered(config, connection)
        table = _shipped(found.registry, name)
        with translated("source"), connection.transaction():
            nodes.read(connection)
            places = find_rows(connection, table, found.catalog, list(dict.fromkeys(keys)))
            wanted: dict[TableName, set[Place]] = {name: set(places.values())}
            if with_parents:
                _add_parents(connection, found.registry, found.catalog, wanted)
            rows = _log(connection, found.registry, found.catalog, wanted)
    return Resent(rows=rows, absent=tuple(key for key in keys if key not in places))


@dataclass(slots=True, kw_only=True)
class Repair:
    """Logs rows once more while a comparison finds them: what ``verify`` calls with each bite of differences.

    It has a connection of its own: the comparison's sees one snapshot and writes nothing.
    """

    connection: psycopg.Connection
    registry: Registry
    catalog: Catalog
    rows: Counter[TableName] = field(default_factory=Counter)

    def order(self, tables: Iterable[TableName]) -> list[list[TableName]]:
        """Order tables so that what is referred to is logged first; those that refer to each other stay together."""
        chosen = [self.registry.tables[name] for name in tables]
        return [[table.name for table in group] for group in groups(chosen)]

    @contextmanager
    def together(self, tables: Sequence[TableName]) -> Iterator[None]:
        """Log what tables that refer to each other, or to themselves, are given inside as one transaction."""
        if len(tables) > 1 or refers_to_itself(self.registry.tables[tables[0]]):
            with translated("source"), self.connection.transaction():
                yield
        else:
            yield

    def log(self, table: TableName, places: Sequence[Place]) -> None:
        """Log a bite of rows."""
        with translated("source"), self.connection.transaction():
            for start in range(0, len(places), BITE):
                bite = places[start : start + BITE]
                self.rows[table] += capture.log(self.connection, self.registry.tables[table], self.catalog, bite)


def find_rows(
    connection: psycopg.Connection, table: RegisteredTable, catalog: Catalog, keys: Sequence[Key]
) -> dict[Key, Place]:
    """Find the rows of a registered table with some natural keys, or say why values are no keys of it."""
    leaves = table.key.leaves()
    wrong = next((key for key in keys if len(key) != len(leaves)), None)
    if wrong is not None:
        raise UsageError(
            f"a key of {table.name} has {len(leaves)} values, not {len(wrong)}",
            why=f"they are, in this order: {', '.join(leaves)}",
            hint=f"dbsync tables --match {table.name}   shows it",
        )
    try:
        return capture.find(connection, table, catalog, keys)
    except psycopg.DataError as error:
        raise UsageError(
            f"that is no key of {table.name}",
            why=f"{primary(error)}; the values are, in this order: {', '.join(leaves)}",
        ) from error


@contextmanager
def repairing(config: Config) -> Iterator[Repair]:
    """Open a repair of the source."""
    with connect(config.node.source, name="source") as connection:
        schema.require(connection, "source")
        with translated("source"):
            nodes.read(connection)
            catalog = inspect(connection)
        registry, _ = register(config, catalog)
        yield Repair(connection=connection, registry=registry, catalog=catalog)


def _shipped(registry: Registry, name: TableName) -> RegisteredTable:
    table = registry.tables.get(name)
    if table is None or table.mode is not Mode.SHIP:
        raise UsageError(f"{name} is not shipped, so none of its rows can be resent", hint="dbsync tables --registered")
    return table


def _add_parents(
    connection: psycopg.Connection, registry: Registry, catalog: Catalog, wanted: dict[TableName, set[Place]]
) -> None:
    """Follow references from the rows found last, until nothing new is found; tables that are only looked up end it."""
    latest = {name: set(places) for name, places in wanted.items()}
    while latest:
        above: dict[TableName, set[Place]] = {}
        for name, places in latest.items():
            for target, found in capture.parents(connection, registry.tables[name], catalog, sorted(places)).items():
                if registry.tables[target].mode is Mode.SHIP:
                    above.setdefault(target, set()).update(found - wanted.get(target, set()))
        latest = {name: places for name, places in above.items() if places}
        for name, places in latest.items():
            wanted.setdefault(name, set()).update(places)


def _log(
    connection: psycopg.Connection, registry: Registry, catalog: Catalog, wanted: dict[TableName, set[Place]]
) -> tuple[tuple[TableName, int], ...]:
    ordered = [table for group in groups([registry.tables[name] for name in wanted]) for table in group]
    logged = ((table.name, capture.log(connection, table, catalog, sorted(wanted[table.name]))) for table in ordered)
    return tuple((name, rows) for name, rows in logged if rows)
