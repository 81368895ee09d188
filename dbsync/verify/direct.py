"""Compare two databases that are both reachable, each seen in one snapshot.

:func:`verify` is what the command, the demo and the tests call. The comparison itself knows no SQL; it talks to a
:class:`DirectSide` as it would to any :class:`~dbsync.verify.compare.Side`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow, tuple_row

from dbsync.catalog.inspect import inspect
from dbsync.errors import Refusal, UsageError
from dbsync.model.names import TableName
from dbsync.model.registration import Mode, RegisteredTable, Registry
from dbsync.postgres import SETTINGS, translated
from dbsync.statements import statement
from dbsync.verify import compare
from dbsync.verify.compare import Bucket, Content, Cut, Row
from dbsync.verify.report import ColumnDifference, Difference, Key, Kind, Place, Report, TableReport
from dbsync.verify.rows import RowSql
from dbsync.verify.shape import Shape, shape, tables_of
from dbsync.verify.views import Family, View, Views

Connection = psycopg.Connection[Any]
_FETCHED = 2_000
"""Rows a round trip of a cursor."""
_REPAIRED = 5_000
"""Differing rows that a repair is told of at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much a report says, and whom it tells on the way."""

    limit: int = 20
    """So many differing rows are listed; all are counted."""
    show_values: bool = False
    """Whether the listed rows carry the values that differ, not only the columns' names."""
    progress: Callable[[TableName, int, int], None] | None = None
    """Called before each table: which, the how-manieth, of how many."""
    repair: Repair | None = None
    """Told of every row of the source that upstream lacks or has with other contents."""


class Repair(Protocol):
    """What brings rows upstream again, while the comparison goes on."""

    def order(self, tables: Iterable[TableName]) -> list[list[TableName]]:
        """Order the tables; those in one list are repaired together."""

    def together(self, tables: Sequence[TableName]) -> AbstractContextManager[None]:
        """Do what is done inside for tables that go together."""

    def log(self, table: TableName, places: Sequence[Place]) -> None:
        """Take rows of the source in, by where they are."""


def verify(
    registry: Registry,
    source: Connection,
    upstream: Connection,
    tables: Iterable[TableName] | None = None,
    *,
    options: Options | None = None,
) -> Report:
    """Compare the shipped tables, or some of them, by natural key; change nothing on either side.

    Both connections must be in autocommit and outside a transaction. Each side is seen in one snapshot, but the two
    snapshots are not of one moment: rows that are on their way appear as differences.

    Raises :class:`UsageError` for a table that is not shipped, :class:`Refusal` where the databases' encodings differ.
    """
    chosen = _chosen(registry, tables)
    options = options or Options()
    ends = _Ends(source=source, upstream=upstream)
    with snapshot(source, "source"), snapshot(upstream, "upstream"):
        _same_encoding(ends)
        views = _views(chosen, ends)
        comparisons = {r.name: _Comparison.of(shape(r, views), ends, options) for r in chosen}
        outcomes = dict(_run(comparisons, options))
        ordered = [outcomes[name] for name in comparisons]
        shares = fair_shares([len(outcome.first) for outcome in ordered], options.limit)
        listed = [
            difference
            for comparison, outcome, share in zip(comparisons.values(), ordered, shares, strict=True)
            for difference in comparison.explained(outcome.first[:share], options)
        ]
    return Report(tables=tuple(outcome.report for outcome in ordered), differences=tuple(listed))


def _run(comparisons: Mapping[TableName, _Comparison], options: Options) -> Iterator[tuple[TableName, _Outcome]]:
    """Compare table by table; for a repair what is referred to comes first."""
    groups = options.repair.order(comparisons) if options.repair else [list(comparisons)]
    position = 0
    for group in groups:
        with options.repair.together(group) if options.repair else nullcontext():
            for name in group:
                position += 1
                if options.progress:
                    options.progress(name, position, len(comparisons))
                yield name, comparisons[name].run(options)


def fair_shares(wanted: Sequence[int], limit: int) -> list[int]:
    """Share a limit out so that no table's many differences hide another's few.

    >>> fair_shares([500, 1, 7], 10)
    [5, 1, 4]
    """
    shares = [0] * len(wanted)
    open_ = [index for index, count in enumerate(wanted) if count]
    while open_ and sum(shares) < limit:
        for index in open_[: limit - sum(shares)]:
            shares[index] += 1
        open_ = [index for index in open_ if shares[index] < wanted[index]]
    return shares


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """The two connections."""

    source: Connection
    upstream: Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectSide:
    """A database, asked by SQL inside its snapshot."""

    connection: Connection
    name: str
    """``source`` or ``upstream``, for errors."""
    said: Mapping[TableName, RowSql]
    placed: bool = False
    """Whether its rows say where they are."""

    def buckets(self, table: TableName, bits: int, within: Cut) -> Iterable[Bucket]:
        """Sum up buckets in one pass over the table."""
        query = self._hashed("buckets", table, bits=bits, within=within.bits, numbers=list(within.numbers))
        with translated(self.name), self.connection.cursor(row_factory=tuple_row) as cursor:
            return [Bucket(number=n, rows=rows, digest=digest) for n, rows, digest in cursor.execute(query)]

    def rows(self, table: TableName, cut: Cut) -> Iterator[Row]:
        """Stream the rows of buckets through a cursor of the server's."""
        query = self._hashed("rows", table, bits=cut.bits, numbers=list(cut.numbers), placed=self.placed)
        for bucket, key, digest, loose, place in self._stream(query):
            yield Row(bucket=bucket, key=tuple(key), digest=digest, loose=tuple(loose), place=tuple(place))

    def contents(self, table: TableName, keys: Sequence[Key]) -> Iterator[tuple[Key, Content]]:
        """Stream the contents of the rows with these keys."""
        wanted = sql.SQL(", ").join(sql.SQL("{}::text[]").format(sql.Literal(list(key))) for key in keys)
        query = statement("verify", "contents").format(keyed=self._keyed(table), keys=wanted)
        for key, content, loose in self._stream(query):
            yield tuple(key), (*content, *loose)

    def _hashed(self, block: str, table: TableName, **values: object) -> sql.Composed:
        hashed = statement("verify", "hashed").format(keyed=self._keyed(table))
        literals = {name: sql.Literal(value) for name, value in values.items()}
        return statement("verify", block).format(hashed=hashed, **literals)

    def _keyed(self, table: TableName) -> sql.Composed:
        said = self.said[table]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """One table's comparison."""

    shape: Shape
    source: DirectSide
    upstream: DirectSide

    @classmethod
    def of(cls, shape: Shape, ends: _Ends, options: Options) -> _Comparison:
        here = {shape.table: shape.source} if shape.source else {}
        there = {shape.table: shape.upstream} if shape.upstream else {}
        return cls(
            shape=shape,
            source=DirectSide(connection=ends.source, name="source", said=here, placed=options.repair is not None),
            upstream=DirectSide(connection=ends.upstream, name="upstream", said=there),
        )

    def run(self, options: Options) -> _Outcome:
        """Count all differences, keep the first, and hand the rows that the source has to the repair."""
        shape = self.shape
        if shape.problem:
            return _Outcome(report=TableReport(table=shape.table, problem=shape.problem))
        found = compare.survey(self.source, self.upstream, shape.table, estimate=shape.estimate)
        counts: Counter[Kind] = Counter()
        first: list[Difference] = []
        places: list[Place] = []
        for difference in compare.differences(self.source, self.upstream, found):
            counts[difference.kind] += 1
            if len(first) < options.limit:
                first.append(difference)
            if difference.kind is not Kind.EXTRA:
                places += difference.places
            if len(places) >= _REPAIRED:
                self._repair(places, options)
        self._repair(places, options)
        report = TableReport(
            table=shape.table,
            source_rows=found.source_rows,
            upstream_rows=found.upstream_rows,
            missing=counts[Kind.MISSING],
            extra=counts[Kind.EXTRA],
            different=counts[Kind.DIFFERENT],
            not_captured=found.not_captured,
            other_origin=found.other_origin,
            missing_columns=shape.missing_columns,
            notes=shape.notes,
        )
        return _Outcome(report=report, first=first)

    def _repair(self, places: list[Place], options: Options) -> None:
        """Hand rows to the repair, each once, and forget them here."""
        if options.repair and places:
            options.repair.log(self.shape.table, list(dict.fromkeys(places)))
        places.clear()

    def explained(self, first: Sequence[Difference], options: Options) -> list[Difference]:
        """Name the columns that differ, and put the rows in the order of their keys."""
        explained = compare.explain(self.source, self.upstream, first, self.shape.columns, self.shape.loose)
        if not options.show_values:
            explained = [replace(d, columns=tuple(map(_without_values, d.columns))) for d in explained]
        return sorted(explained, key=lambda d: (d.kind, [(leaf is not None, leaf or "") for leaf in d.key]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What came out for one table, with the first differences as they were met."""

    report: TableReport
    first: Sequence[Difference] = ()


def _without_values(column: ColumnDifference) -> ColumnDifference:
    return ColumnDifference(column=column.column)


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


def _views(chosen: Sequence[RegisteredTable], ends: _Ends) -> Views:
    read = {name for registered in chosen for name in tables_of(registered)}
    return Views(source=_view(ends.source, read, "source"), upstream=_view(ends.upstream, read, "upstream"))


def _view(connection: Connection, tables: Iterable[TableName], name: str) -> View:
    with translated(name):
        catalog = inspect(connection)
    return View(catalog=catalog, families=families(connection, tables, name))


def _same_encoding(ends: _Ends) -> None:
    here, there = _encoding(ends.source, "source"), _encoding(ends.upstream, "upstream")
    if here != there:
        raise Refusal(
            "the databases cannot be compared",
            why=f"the source is encoded in {here}, upstream in {there}; digests of text would differ",
        )


def _encoding(connection: Connection, name: str) -> str:
    with translated(name), connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(statement("verify", "encoding")).fetchone()
    assert row is not None
    return str(row[0])


def _chosen(registry: Registry, tables: Iterable[TableName] | None) -> list[RegisteredTable]:
    if tables is None:
        return list(registry.shipped())
    chosen = {name: registry.tables.get(name) for name in sorted(set(tables))}
    unknown = [str(name) for name, table in chosen.items() if table is None or table.mode is not Mode.SHIP]
    if unknown:
        raise UsageError(
            f"not shipped, so there is nothing to compare: {', '.join(unknown)}", hint="dbsync tables --registered"
        )
    return [table for table in chosen.values() if table is not None]
