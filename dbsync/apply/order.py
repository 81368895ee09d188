"""In which order the tables of a segment are written. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.registration import KeyReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Write one layout's changes. ``late`` are the tables in a cycle that will be written only after this one."""

    layout: int
    late: frozenset[TableName] = frozenset()


Required = Callable[[TableName, Sequence[str]], bool]
"""Whether a table's row cannot be written while these columns of it are null."""
MayFollow = Callable[[TableName, KeyReference], bool]
"""Whether a table's row may be written before the row that one of its references means, though it must be set."""


Asked = Callable[[Layout], Iterable[TableName]]
"""The tables whose rows must be there at once for another cause: a constraint on values that travel as they are."""


def write_order(
    layouts: Mapping[int, Layout], required: Required, may_follow: MayFollow, asked: Asked
) -> tuple[Step, ...]:
    """Order layouts so that what is referred to is written first; deletes go the other way round.

    A cycle between tables is cut at a reference that may be null, or else (all are ``required``) at one that ``may_follow``,
    and that the row is not known by: its table is written first, and the reference in a second pass. Depth first in name
    order, so the order is the same on every run.
    """
    by_table: dict[TableName, list[int]] = {}
    for identity, layout in sorted(layouts.items(), key=lambda item: (item[1].table, item[0])):
        by_table.setdefault(layout.table, []).append(identity)
    edges = {table: [edge for i in ids for edge in _edges(layouts[i])] for table, ids in by_table.items()}
    values = {table: {target for i in ids for target in asked(layouts[i])} for table, ids in by_table.items()}

    def targets(wanted: Callable[[TableName, _Edge], bool], *, and_values: bool) -> dict[TableName, list[TableName]]:
        found = {table: {edge.target for edge in edges[table] if wanted(table, edge)} for table in by_table}
        more = values if and_values else {table: set() for table in by_table}
        return {table: sorted((found[table] | more[table]) & by_table.keys() - {table}) for table in by_table}

    def is_needed(table: TableName, edge: _Edge) -> bool:
        return required(table, edge.columns)

    def is_firm(table: TableName, edge: _Edge) -> bool:
        if table not in behind.get(edge.target, ()):
            return is_needed(table, edge)
        can_be_cut = edge.reference is not None and not edge.in_key and may_follow(table, edge.reference)
        return is_needed(table, edge) and not can_be_cut

    every, needed = targets(lambda *_: True, and_values=True), targets(is_needed, and_values=True)
    behind = _behind(needed)
    firm = targets(is_firm, and_values=True)
    order = _depth_first(_depth_first(_depth_first(sorted(by_table), every), needed), firm)
    told = targets(lambda *_: True, and_values=False)
    place = {table: i for i, table in enumerate(order)}
    return tuple(
        Step(layout=identity, late=frozenset(n for n in told[table] if place[n] > place[table]))
        for table in order
        for identity in by_table[table]
    )


Referring = Mapping[TableName, Collection[TableName]]
"""Of a table those whose rows refer to its rows in some way."""


def delete_order(tables: Iterable[TableName], *referring: Referring) -> tuple[TableName, ...]:
    """Order tables whose rows go, given in the order in which they are written: what refers to others first.

    Each of ``referring`` counts for more than the one before it, where tables refer to each other in a circle.
    """
    order = list(reversed(list(tables)))
    for refers in referring:
        order = _depth_first(order, {table: [one for one in order if one in refers.get(table, ())] for table in order})
    return tuple(order)


def above(layouts: Mapping[int, Layout], table: TableName) -> frozenset[TableName]:
    """Give the tables that a table's rows refer to, directly or through others, without itself."""
    targets: dict[TableName, set[TableName]] = {}
    for layout in layouts.values():
        targets.setdefault(layout.table, set()).update(r.target.table for r in layout.references)
    return frozenset(_behind(targets).get(table, set()) - {table})


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


def _behind(targets: Mapping[TableName, Iterable[TableName]]) -> dict[TableName, set[TableName]]:
    """Give for each table all that can be reached from it."""
    found: dict[TableName, set[TableName]] = {table: set(near) for table, near in targets.items()}
    for middle, further in found.items():
        for reached in found.values():
            if middle in reached:
                reached.update(further)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    """What some columns of a row may point to."""

    columns: Sequence[str]
    target: TableName
    reference: KeyReference | None = None
    in_key: bool = False


def _edges(layout: Layout) -> Iterator[_Edge]:
    known_by = [part.columns for part in layout.key.parts if isinstance(part, KeyReference)] if layout.key else []
    for reference in layout.references:
        yield _Edge(
            columns=reference.columns,
            target=reference.target.table,
            reference=reference,
            in_key=reference.columns in known_by,
        )
    for generic in layout.generics:
        for tree in generic.targets:
            yield _Edge(columns=(generic.id_column,), target=tree.table)
