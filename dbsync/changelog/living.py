"""References that nothing in their transaction tells, asked of the application's rows as they are now.

A key means the row that had it when the change was captured, and it may be read weeks later. So the row's present key is
taken only where the log holds nothing since that renamed it, or a row that its key runs through, or deleted the row that
had its id. Otherwise the reference stays lost, and a person decides: the key that another row has meanwhile is worse
than none. A trigger looks a second time itself (dbsync/capture/again.py), so few references come here: those to rows that
no trigger captures, those without a constraint, and what earlier versions left open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from dbsync.changelog.leaves import leaves_of
from dbsync.keys.expression import Sql, qualified
from dbsync.model.layout import Layout, tree_definition
from dbsync.model.registration import KeyColumn, KeyReference, KeyTree
from dbsync.statements import statement


def tell(connection: psycopg.Connection, at: Mapping[str, Sql], reference: KeyReference) -> int:
    """Fill in what living rows tell of one reference of a layout's changes; give the number of references told.

    ``at`` says where it is, as the statements of sql/living.sql have it.
    """
    if len(reference.target_columns) != 1 or reference.target.row_id:
        return 0
    compared = sql.Identifier("t", reference.target_columns[0]).as_string(None).replace('"t"', "t", 1)
    living = statement("living", "living").format(
        relation=sql.Literal(qualified(reference.target.table)),
        by_target_column=sql.Literal(f"{compared} = $1"),
        tree=sql.Literal(Jsonb(tree_definition(reference.target))),
        **at,
    )
    found = connection.execute(statement("living", "any_living").format(living=living)).fetchone()
    if found is None or not found[0]:
        return 0
    changes = sql.SQL("\nUNION ALL\n").join(_changes(connection, reference.target))
    return connection.execute(
        statement("living", "stitch_living").format(living=living, changes=changes, **at)
    ).rowcount


def _changes(connection: psycopg.Connection, target: KeyTree) -> Iterator[Sql]:
    """Compose what finds the changes by which a key may have become what it is, of every layout they may have."""
    nodes = list(_nodes(target, 1))
    relations = sorted({qualified(tree.table) for tree, _ in nodes})
    rows = connection.execute(statement("living", "layouts"), {"relations": relations}).fetchall()
    layouts = {identity: Layout.read(definition) for identity, definition in rows}
    yield statement("living", "deleted").format(layout=sql.NULL)  # where there is no layout at all
    for identity, layout in layouts.items():
        if layout.table == target.table:
            yield statement("living", "deleted").format(layout=sql.Literal(identity))
        for tree, first in nodes:
            if layout.key == tree:
                yield statement("living", "renamed").format(
                    first=sql.Literal(first),
                    last=sql.Literal(first + tree.width - 1),
                    leaves=leaves_of(tree, layout, image=sql.SQL("c.image"), refs=sql.SQL("c.refs")),
                    layout=sql.Literal(identity),
                )


def _nodes(tree: KeyTree, first: int) -> Iterator[tuple[KeyTree, int]]:
    """Give the keys that a key is made of, itself among them, and the place of the first leaf of each."""
    if tree.row_id:
        return  # a UUID stays
    yield tree, first
    for part in tree.parts:
        if isinstance(part, KeyColumn):
            first += 1
        else:
            yield from _nodes(part.target, first)
            first += part.target.width
