"""Schema skew: what a node's changes have and the upstream's table has not, or the other way round. Pure.

And what the node took for plain values and the upstream for ids of other rows: there such a number means another row.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from dbsync.catalog.former import Former
from dbsync.keys.expression import qualified
from dbsync.model.batch import Op
from dbsync.model.catalog import Catalog, Column, Table
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.policy import OnSkew
from dbsync.model.registration import KeyColumn, KeyTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """Why changes of a layout cannot be applied until one side is migrated."""

    table: TableName
    column: str | None
    reason: str
    inserts_only: bool = False
    """Rows that are there can be updated all the same."""

    @property
    def relation(self) -> str:
        """Name the table as the quarantine does."""
        return qualified(self.table)

    def concerns(self, op: Op) -> bool:
        """Say whether it stands in the way of a change of this kind."""
        return not self.inserts_only or op in (Op.INSERT, Op.BACKFILL)


def ignored_columns(layout: Layout, catalog: Catalog) -> frozenset[str]:
    """Give the columns that travel and that the upstream's table does not have."""
    table = catalog.table(layout.table)
    return frozenset() if table is None else frozenset(name for name in layout.travelling if table.column(name) is None)


def skew(layout: Layout, catalog: Catalog, rule: OnSkew, former: Former) -> Skew | None:
    """Give the first thing that stands in the way of a layout's changes; a column that is left out does not."""
    table = catalog.table(layout.table)
    if table is None:
        return Skew(table=layout.table, column=None, reason=f"there is no table {layout.table} upstream")
    lacking = [name for name in layout.travelling if table.column(name) is None]
    left_out = {name for name in lacking if _may_be_left_out(layout.table, name, rule, former)} - _needed(layout)
    for name in lacking:
        if name not in left_out:
            return Skew(table=table.name, column=name, reason=_lacks(table.name, name, former))
    return next(_in_the_way(layout, table, catalog, left_out, former), None)


def _may_be_left_out(table: TableName, column: str, rule: OnSkew, former: Former) -> bool:
    return rule is OnSkew.IGNORE or (rule is OnSkew.FOLLOW and (table, column) in former.dropped)


def _lacks(table: TableName, column: str, former: Former) -> str:
    if (table, column) in former.dropped:
        return f"table {table} has no column {column} upstream any more: it was dropped there"
    return f"table {table} has no column {column} upstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawId:
    """A value of a layout that a foreign key upstream takes for a generated id. Changes that have it must not be written."""

    place: int
    """In ``image``, counted from 1."""
    column: str
    reason: str


def raw_ids(layout: Layout, catalog: Catalog) -> list[RawId]:
    """Find the values that are ids of other rows upstream; natural values that a foreign key holds are none."""
    table = catalog.table(layout.table)
    told = {column for reference in layout.references for column in reference.columns}
    found: dict[str, RawId] = {}
    for key in () if table is None else table.foreign_keys:
        for column, there in zip(key.columns, key.target_columns, strict=True):
            place = None if column in told else layout.position(column)
            if place is not None and _is_generated(catalog, key.target, there):
                reason = (
                    f"{column} refers to {key.target} upstream, and the node sent the number that the row has there:"
                    " it did not know the column for a reference"
                )
                found.setdefault(column, RawId(place=place, column=column, reason=reason))
    return list(found.values())


def _is_generated(catalog: Catalog, name: TableName, column: str, seen: frozenset[TableName] = frozenset()) -> bool:
    """Say whether a column holds ids that a database counts for itself: its own, or those of rows that its rows are one with."""
    table = catalog.table(name)
    found = None if table is None else table.column(column)
    if table is None or found is None or name in seen:
        return False
    return found.auto or any(
        _is_generated(catalog, key.target, key.target_columns[key.columns.index(column)], seen | {name})
        for key in table.foreign_keys
        if column in key.columns
    )


def _in_the_way(layout: Layout, table: Table, catalog: Catalog, left_out: Set[str], former: Former) -> Iterator[Skew]:
    for tree in _trees(layout, left_out):
        yield from _unknown(tree, catalog, former)
    own = {*layout.travelling, *_keyed_by_row(layout)}
    for column in table.columns:
        if column.name not in own and _must_be_given(column, table):
            yield Skew(
                table=table.name,
                column=column.name,
                reason=f"column {column.name} of {table.name} must have a value upstream, and this node does not have it",
                inserts_only=True,
            )


def _unknown(tree: KeyTree, catalog: Catalog, former: Former) -> Iterator[Skew]:
    """Find tables and columns that a reference's key runs through and that are not there."""
    if tree.row_id:
        return
    table = catalog.table(tree.table)
    if table is None:
        yield Skew(table=tree.table, column=None, reason=f"there is no table {tree.table} upstream")
        return
    for column in _columns_of(tree, tree.table):
        if table.column(column) is None:
            yield Skew(table=tree.table, column=column, reason=_lacks(tree.table, column, former))
    for part in tree.parts:
        if not isinstance(part, KeyColumn):
            yield from _unknown(part.target, catalog, former)


def _needed(layout: Layout) -> set[str]:
    """Name the columns by which rows of the table are found."""
    return {column for tree in _trees(layout) for column in _columns_of(tree, layout.table)}


def _trees(layout: Layout, left_out: Set[str] = frozenset()) -> list[KeyTree]:
    own = [] if layout.key is None else [layout.key]
    return [*own, *(reference.target for reference in layout.references if left_out.isdisjoint(reference.columns))]


def _columns_of(tree: KeyTree, table: TableName) -> Iterator[str]:
    if tree.table != table:
        return
    for part in tree.parts:
        yield from (part.column,) if isinstance(part, KeyColumn) else part.columns


def _keyed_by_row(layout: Layout) -> tuple[str, ...]:
    return layout.key.row_id if layout.key is not None else ()


def _must_be_given(column: Column, table: Table) -> bool:
    given = column.nullable or column.auto or column.generated or bool(column.default)
    return not given and column.name not in table.primary_key
