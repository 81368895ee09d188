"""Which cases of the quarantine may go now: what they waited for is there. Pure: it composes SQL."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from dbsync.apply.resolve import look_up, typed_leaves
from dbsync.apply.skew import skew
from dbsync.catalog.former import Former
from dbsync.keys.expression import Query, qualified
from dbsync.model.catalog import Catalog
from dbsync.model.layout import Layout
from dbsync.model.policy import Policies
from dbsync.model.registration import KeyTree
from dbsync.statements import statement


def arrived(identity: int, layout: Layout, relation: str, catalog: Catalog) -> Query | None:
    """Compose the question which cases of a layout waited for a row of a table that is there now."""
    tree = _awaited(layout, relation)
    if tree is None or (not tree.row_id and catalog.table(tree.table) is None):
        return None
    found = look_up(tree, typed_leaves(tree, catalog, sql.SQL("w.awaits_key"), 1), catalog, "a")
    return statement("aside", "arrived").format(
        layout=sql.Literal(identity),
        awaits=sql.Literal(relation),
        joins=sql.SQL("\n").join(found.joins),
        is_missing=found.is_missing,
    )


def parked(layouts: Mapping[int, Layout], catalog: Catalog, policies: Policies, former: Former) -> list[int]:
    """Give the layouts that fit the upstream's tables now."""
    rules = {i: policies.of(layout.table).on_skew for i, layout in layouts.items()}
    return [i for i, layout in layouts.items() if skew(layout, catalog, rules[i], former) is None]


def _awaited(layout: Layout, relation: str) -> KeyTree | None:
    trees = [reference.target for reference in layout.references]
    return next((tree for tree in trees if qualified(tree.table) == relation), None)
