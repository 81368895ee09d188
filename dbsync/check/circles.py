"""Tables that refer to one another in a circle which nobody can enter. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dbsync.check.finding import error
from dbsync.check.wording import identifier, table
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Finding
from dbsync.model.names import TableName
from dbsync.model.registration import Registry

_Edges = Mapping[TableName, Mapping[TableName, Sequence[str]]]
"""For each table those that its rows must refer to, and the columns that do."""


def of_circles(registry: Registry, upstream: Catalog) -> Iterator[Finding]:
    """Find circles in which each reference must be set upstream.

    Rows are written table by table, and where there is a circle the first table's with a reference that is still empty: no row of
    such tables can be the first, whether or not the constraints wait for the commit.
    """
    edges = {one.name: _required(one.name, upstream, registry) for one in registry.shipped()}
    told: set[frozenset[TableName]] = set()
    for start in sorted(edges):
        circle = _way_back(edges, start)
        if not circle or frozenset(circle) in told:
            continue
        told.add(frozenset(circle))
        chain = " -> ".join(str(name) for name in (*circle, circle[0]))
        columns = edges[start][circle[1]]
        dropped = ", ".join(f"ALTER COLUMN {identifier(column)} DROP NOT NULL" for column in columns)
        what = (
            f"its references run in a circle, and upstream each of them must be set: {chain}; no row can be the first"
        )
        yield error("circle_required", str(start), what, f"ALTER TABLE {table(start)} {dropped};")


def _required(name: TableName, upstream: Catalog, registry: Registry) -> Mapping[TableName, Sequence[str]]:
    """Give the other registered tables that a row must refer to; its own table's rows are written together."""
    there = upstream.table(name)
    if there is None:
        return {}
    needed = {column.name for column in there.columns if not column.nullable}
    return {
        reference.target.table: tuple(column for column in reference.columns if column in needed)
        for reference in registry.tables[name].references
        if reference.target.table != name and needed.intersection(reference.columns)
    }


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
