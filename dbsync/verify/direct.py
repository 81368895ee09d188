"""Compare with an upstream whose database is within reach: it is seen in one snapshot, as the source is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dbsync.model.names import TableName
from dbsync.model.registration import RegisteredTable, Registry
from dbsync.verify.compare import Bucket, Columns, Cut, Grain, Row, Side, match, named
from dbsync.verify.comparison import Options, compare_tables
from dbsync.verify.report import Difference, Key, Report
from dbsync.verify.rows import row_sql
from dbsync.verify.shape import Shape
from dbsync.verify.side import Connection, DatabaseSide, encoding_of, snapshot, view_of
from dbsync.verify.views import View, Views


def verify(
    registry: Registry,
    source: Connection,
    upstream: Connection,
    tables: Iterable[TableName] | None = None,
    *,
    options: Options | None = None,
) -> Report:
    """Compare two databases as :func:`~dbsync.verify.comparison.compare_tables` does, each in one snapshot.

    Both connections must be in autocommit and outside a transaction. The two snapshots are not of one moment.
    """
    with snapshot(upstream, "upstream"):
        return compare_tables(registry, source, Within(connection=upstream), tables, options=options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """The upstream's database within reach, in a snapshot."""

    connection: Connection

    def look(self, tables: Iterable[TableName]) -> tuple[View, str]:
        """Look at it."""
        return view_of(self.connection, tables, "upstream"), encoding_of(self.connection, "upstream")

    def upstream(self, registered: RegisteredTable, shape: Shape, views: Views) -> Asked:  # noqa: ARG002 - it is in the shape
        """Give its side of a table."""
        assert shape.parts is not None
        said = row_sql(shape.parts, views.upstream)
        return Asked(side=DatabaseSide(connection=self.connection, name="upstream", said=said), shape=shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The upstream's side of one table, and what it answers about it."""

    side: DatabaseSide
    shape: Shape
    grain: Grain = field(default_factory=Grain)

    def buckets(self, bits: int, within: Cut) -> Iterable[Bucket]:
        """Sum its rows up."""
        return self.side.buckets(bits, within)

    def matched(self, table: TableName, cut: Cut, rows: Iterator[Row]) -> Iterator[Difference]:
        """Match the source's rows with its own."""
        return match(table, rows, self.side.rows(cut))

    def differing(self, source: Side, keys: Sequence[Key]) -> Mapping[Key, Columns]:
        """Name the columns that differ, with both values."""
        here, there = source.contents(keys), self.side.contents(keys)
        return named(here, there, self.shape.columns, self.shape.loose)
