"""In which order the tables of a segment are written. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from dbsync.model.layout import Layout
from dbsync.model.names import TableName


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Write one layout's changes. ``late`` are the tables in a cycle that will be written only after this one."""

    layout: int
    late: frozenset[TableName] = frozenset()


def write_order(layouts: Mapping[int, Layout]) -> tuple[Step, ...]:
    """Order layouts so that what is referred to is written first; deletes go the other way round.

    Tables that refer to each other in a cycle are cut at the last edge met; the reference over that edge is written in
    a second pass. Depth first, in name order, so the order is the same on every run.
    """
    by_table: dict[TableName, list[int]] = {}
    for identity, layout in sorted(layouts.items(), key=lambda item: (item[1].table, item[0])):
        by_table.setdefault(layout.table, []).append(identity)
    needs = {table: _needs(table, [layouts[i] for i in ids], by_table.keys()) for table, ids in by_table.items()}
    done: list[TableName] = []
    entered: set[TableName] = set()

    def visit(table: TableName) -> None:
        entered.add(table)
        for needed in needs[table]:
            if needed not in entered:
                visit(needed)
        done.append(table)

    for table in by_table:
        if table not in entered:
            visit(table)
    place = {table: i for i, table in enumerate(done)}
    return tuple(
        Step(layout=identity, late=frozenset(n for n in needs[table] if place[n] > place[table]))
        for table in done
        for identity in by_table[table]
    )


def _needs(table: TableName, layouts: Sequence[Layout], present: Set[TableName]) -> list[TableName]:
    targets = {reference.target.table for layout in layouts for reference in layout.references}
    return sorted((targets & present) - {table})
