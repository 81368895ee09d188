"""Compare the tables of a source with those of its upstream, wherever that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

from dbsync.errors import Refusal, UsageError
from dbsync.model.names import TableName
from dbsync.model.registration import Mode, RegisteredTable, Registry
from dbsync.verify import compare
from dbsync.verify.report import ColumnDifference, Difference, Kind, Place, Report, TableReport
from dbsync.verify.rows import row_sql
from dbsync.verify.shape import Shape, shape, tables_of
from dbsync.verify.side import Connection, DatabaseSide, encoding_of, snapshot, view_of
from dbsync.verify.views import View, Views

_REPAIRED = 5_000
"""Differing rows that a repair is told of at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much a report says, and whom it tells on the way."""

    limit: int = 20
    """So many differing rows are listed; all are counted."""
    extras: bool = True
    """Whether rows that only upstream has are among the listed."""
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


class Opposite(Protocol):
    """The upstream's database, as a comparison first meets it."""

    def look(self, tables: Iterable[TableName]) -> tuple[View, str]:
        """Give these tables, as far as they are there, and the database's encoding."""

    def upstream(self, registered: RegisteredTable, shape: Shape, views: Views) -> compare.Upstream:
        """Give the one to ask about a table."""


def compare_tables(
    registry: Registry,
    source: Connection,
    opposite: Opposite,
    tables: Iterable[TableName] | None = None,
    *,
    options: Options | None = None,
) -> Report:
    """Compare the shipped tables, or some of them, by natural key; change nothing on either side.

    The connection must be in autocommit and outside a transaction. The source is seen in one snapshot; what comes to the upstream
    meanwhile, or is on its way, appears as differences.

    Raises :class:`UsageError` for a table that is not shipped, :class:`Refusal` where the databases' encodings differ.
    """
    chosen = _chosen(registry, tables)
    options = options or Options()
    with snapshot(source, "source"):
        views = _views(chosen, source, opposite)
        comparisons = {r.name: _Comparison.of(r, views, source, opposite, options) for r in chosen}
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
class _Comparison:
    """One table's comparison."""

    shape: Shape
    source: DatabaseSide | None
    """None where the table cannot be compared, and so upstream."""
    upstream: compare.Upstream | None

    @classmethod
    def of(
        cls, registered: RegisteredTable, views: Views, source: Connection, opposite: Opposite, options: Options
    ) -> _Comparison:
        found = shape(registered, views)
        if found.parts is None:
            return cls(shape=found, source=None, upstream=None)
        here = DatabaseSide(
            connection=source,
            name="source",
            said=row_sql(found.parts, views.source),
            placed=options.repair is not None,
        )
        return cls(shape=found, source=here, upstream=opposite.upstream(registered, found, views))

    def run(self, options: Options) -> _Outcome:
        """Count all differences, keep the first, and hand the rows that the source has to the repair."""
        shape = self.shape
        if self.source is None or self.upstream is None:
            return _Outcome(report=TableReport(table=shape.table, problem=shape.problem))
        found = compare.survey(self.source, self.upstream, shape.table, estimate=shape.estimate)
        counts: Counter[Kind] = Counter()
        first: list[Difference] = []
        places: list[Place] = []
        unnamed = 0
        for difference in compare.differences(self.source, self.upstream, found):
            counts[difference.kind] += 1
            if not difference.key:
                unnamed += 1
            elif len(first) < options.limit and (options.extras or difference.kind is not Kind.EXTRA):
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
            unnamed=unnamed,
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
        if self.source is None or self.upstream is None:
            return []
        explained = compare.explain(self.source, self.upstream, first)
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


def _views(chosen: Sequence[RegisteredTable], source: Connection, opposite: Opposite) -> Views:
    read = {name for registered in chosen for name in tables_of(registered)}
    upstream, there = opposite.look(read)
    here = encoding_of(source, "source")
    if here != there:
        raise Refusal(
            "the databases cannot be compared",
            why=f"the source is encoded in {here}, upstream in {there}; digests of text would differ",
        )
    return Views(source=view_of(source, read, "source"), upstream=upstream)


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
