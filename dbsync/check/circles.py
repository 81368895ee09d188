"""Tables that refer to one another in a circle which nobody can enter. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dbsync.check.finding import error
from dbsync.check.wording import identifier, table
from dbsync.keys.postponed import asking_at_once, can_be_made, may_follow
from dbsync.model.catalog import Catalog, Table
from dbsync.model.findings import Finding
from dbsync.model.names import TableName
from dbsync.model.registration import KeyReference, Registry

_Edges = Mapping[TableName, Mapping[TableName, KeyReference]]
"""For each table those whose rows must be there before its own, and the reference that says so."""


def of_circles(registry: Registry, upstream: Catalog) -> Iterator[Finding]:
    """Find circles in which each reference must be set upstream, and find its row at once.

    Rows are written table by table. Where there is a circle the first table's go in with a reference that is empty yet, or with
    an id that stands in until the constraints are checked.
    """
    edges = {one.name: _needed(one.name, upstream, registry) for one in registry.shipped()}
    told: set[frozenset[TableName]] = set()
    for start in sorted(edges):
        circle = _way_back(edges, start)
        if not circle or frozenset(circle) in told:
            continue
        told.add(frozenset(circle))
        chain = " -> ".join(str(name) for name in (*circle, circle[0]))
        what = (
            f"its references run in a circle, and upstream each of them must be set: {chain}; no row can be the first"
        )
        steps = [(here, edges[here][there]) for here, there in zip(circle, (*circle[1:], circle[0]), strict=True)]
        yield error("circle_required", str(start), what, _opened(steps, upstream, registry))


def _needed(name: TableName, upstream: Catalog, registry: Registry) -> Mapping[TableName, KeyReference]:
    """Give the other registered tables whose rows must be there first; its own table's rows are written together."""
    here = upstream.table(name)
    if here is None:
        return {}
    must_be_set = {column.name for column in here.columns if not column.nullable}
    return {
        reference.target.table: reference
        for reference in registry.tables[name].references
        if reference.target.table != name
        and must_be_set.intersection(reference.columns)
        and (_in_key(name, reference, registry) or not _may_follow(reference, here, upstream))
    }


def _may_follow(reference: KeyReference, here: Table, upstream: Catalog) -> bool:
    target = upstream.table(reference.target.table)
    return target is None or may_follow(reference, here, target)


def _in_key(name: TableName, reference: KeyReference, registry: Registry) -> bool:
    key = registry.tables[name].key
    return any(isinstance(part, KeyReference) and part.columns == reference.columns for part in key.parts)


def _opened(steps: Sequence[tuple[TableName, KeyReference]], upstream: Catalog, registry: Registry) -> str:
    """Say what opens a circle, outside of keys: constraints that wait for the commit, else a column that may be empty."""
    outside = [(name, reference) for name, reference in steps if not _in_key(name, reference, registry)] or steps
    for name, reference in outside:
        here, target = upstream.table(name), upstream.table(reference.target.table)
        asking = asking_at_once(reference, here) if here is not None else []
        if asking and target is not None and can_be_made(reference, target):
            waiting = ", ".join(
                f"ALTER CONSTRAINT {identifier(key.name)} DEFERRABLE INITIALLY DEFERRED" for key in asking
            )
            return f"ALTER TABLE {table(name)} {waiting};"
    name, reference = outside[0]
    empty = ", ".join(f"ALTER COLUMN {identifier(column)} DROP NOT NULL" for column in reference.columns)
    return f"ALTER TABLE {table(name)} {empty};"


def _way_back(edges: _Edges, start: TableName) -> Sequence[TableName]:
    """Find the shortest way from a table back to it; none where there is no circle."""
    ways: list[list[TableName]] = [[start]]
    seen: set[TableName] = set()
    while ways:
        way = ways.pop(0)
        for target in sorted(edges.get(way[-1], {})):
            if target == start:
                return way
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return ()
