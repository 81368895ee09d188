"""In which order the tables of a segment are written. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from dbsync.model.layout import Layout
from dbsync.model.names import TableName


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Write one layout's changes. ``late`` are the tables in a cycle that will be written only after this one."""

    layout: int
    late: frozenset[TableName] = frozenset()


Required = Callable[[TableName, Sequence[str]], bool]
"""Whether a table's row cannot be written while these columns of it are null."""


def write_order(layouts: Mapping[int, Layout], required: Required) -> tuple[Step, ...]:
    """Order layouts so that what is referred to is written first; deletes go the other way round.

    A cycle between tables is cut at a reference that may be null: its table is written first, and the reference in a
    second pass. Depth first in name order, so the order is the same on every run.
    """
    by_table: dict[TableName, list[int]] = {}
    for identity, layout in sorted(layouts.items(), key=lambda item: (item[1].table, item[0])):
        by_table.setdefault(layout.table, []).append(identity)
    edges = {table: [edge for i in ids for edge in _edges(layouts[i])] for table, ids in by_table.items()}
    every = {table: _targets(table, (target for _, target in found), by_table.keys()) for table, found in edges.items()}
    needed = {
        table: _targets(table, (target for columns, target in found if required(table, columns)), by_table.keys())
        for table, found in edges.items()
    }
    order = _depth_first(_depth_first(sorted(by_table), every), needed)
    place = {table: i for i, table in enumerate(order)}
    return tuple(
        Step(layout=identity, late=frozenset(n for n in every[table] if place[n] > place[table]))
        for table in order
        for identity in by_table[table]
    )


def above(layouts: Mapping[int, Layout], table: TableName) -> frozenset[TableName]:
    """Give the tables that a table's rows refer to, directly or through others, without itself."""
    targets: dict[TableName, set[TableName]] = {}
    for layout in layouts.values():
        targets.setdefault(layout.table, set()).update(r.target.table for r in layout.references)
    found: set[TableName] = set()
    waiting = [table]
    while waiting:
        further = targets.get(waiting.pop(), set()) - found
        found |= further
        waiting += further
    return frozenset(found - {table})


def _depth_first(tables: Sequence[TableName], targets: Mapping[TableName, Sequence[TableName]]) -> list[TableName]:
    """List tables, each after those it points to, as far as there is no cycle; otherwise in the order given."""
    done: list[TableName] = []
    entered: set[TableName] = set()

    def visit(table: TableName) -> None:
        entered.add(table)
        for target in targets[table]:
            if target not in entered:
                visit(target)
        done.append(table)

    for table in tables:
        if table not in entered:
            visit(table)
    return done


def _edges(layout: Layout) -> Iterator[tuple[Sequence[str], TableName]]:
    """Give what a layout's columns may point to."""
    for reference in layout.references:
        yield reference.columns, reference.target.table
    for generic in layout.generics:
        for tree in generic.targets:
            yield (generic.id_column,), tree.table


def _targets(table: TableName, targets: Iterable[TableName], present: Set[TableName]) -> list[TableName]:
    return sorted((set(targets) & present) - {table})
