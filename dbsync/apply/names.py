"""What a change is about, by key: its own row, and the rows its references run through. Pure: it composes SQL.

Keys are compared as text here. That is exact among the changes of one source: a reference's leaves are the very values
of the row it points to, and a row whose key is written otherwise was renamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from psycopg import sql

from dbsync.keys.expression import Query, Sql, qualified, text_array
from dbsync.model.catalog import Catalog
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyTree
from dbsync.statements import statement

NO_KEY = sql.SQL("NULL::text[]")


def name_statements(identity: int, layout: Layout, catalog: Catalog, arrival: int) -> list[Query]:
    """Compose what names the staged changes of a layout; the upstream's ``catalog`` says what plain values refer to."""
    said = {"layout": sql.Literal(identity), "arrival": sql.Literal(arrival)}
    own = statement("aside", "name_rows").format(
        relation=sql.Literal(qualified(layout.table)),
        key=own_key(layout),
        old_key=own_key(layout, "old_image", "coalesce(s.old_refs, s.refs)"),
        **said,
    )
    referred = [*_references(layout, catalog), *_plain_references(layout, catalog)]
    if not referred:
        return [own]
    return [own, statement("aside", "name_references").format(references=sql.SQL(", ").join(referred), **said)]


def reference_slice(layout: Layout, place: int) -> tuple[int, int]:
    """Give the first and last element of a reference in ``refs``; ``place`` counts as the applier does, from 1."""
    placed = layout.reference_positions()
    if place <= len(placed):
        reference, first = placed[place - 1]
        return first, first + reference.target.width - 1
    _, first = layout.generic_positions()[place - 1 - len(placed)]
    return first, first + 1


def own_key(layout: Layout, image: str = "image", refs: str = "s.refs") -> Sql:
    """Say the key of a row by a change ``s`` of it, staged or captured, as an array of text: as it is after the change."""
    if layout.key is None:
        return NO_KEY
    if layout.keyed_by_row_id:
        return text_array([_element(refs, 1)])
    first_leaf = {reference.columns: first for reference, first in layout.reference_positions()}
    leaves: list[Sql] = []
    for part in layout.key.parts:
        if isinstance(part, KeyColumn):
            place = layout.position(part.column)
            leaves.append(sql.NULL if place is None else _element(f"s.{image}", place))
        else:
            first = first_leaf[part.columns]
            leaves += [_element(refs, first + i) for i in range(part.target.width)]
    return text_array(leaves)


def _references(layout: Layout, catalog: Catalog) -> Iterator[Sql]:
    for reference, first in layout.reference_positions():
        for refs in ("s.refs", "s.old_refs"):
            for relation, leaves in _run_through(reference.target, catalog, refs, first):
                yield _named(relation, leaves, former=refs == "s.old_refs")
    for generic, first in layout.generic_positions():
        said, key = _element("s.refs", first), _element("s.refs", first + 1)
        yield _named(said, sql.SQL("{}::text[]").format(key))
        for tree in generic.targets:  # the rows that its key runs through; the first is the row itself
            through = _run_through(tree, catalog, f"{key.as_string(None)}::text[]", 1)
            for relation, leaves in islice(through, 1, None):
                only = sql.SQL("CASE WHEN {} = {} THEN {} END").format(
                    said, sql.Literal(qualified(tree.table)), relation
                )
                yield _named(only, leaves)


def _plain_references(layout: Layout, catalog: Catalog) -> Iterator[Sql]:
    """Name the rows that values refer to as they are: by a foreign key onto natural columns."""
    places = {name: place for place, (name, _) in enumerate(layout.columns, start=1)}
    for image in ("s.image", "s.old_image"):
        for relation, leaves in _referred_by(layout.table, catalog, image, places):
            yield _named(relation, leaves, former=image == "s.old_image")


def _named(relation: Sql, key: Sql, *, former: bool = False) -> Sql:
    """Say a row of a VALUES list: which row a change refers to, or did before it."""
    return sql.SQL("({}::text, {}, {})").format(relation, key, sql.Literal(former))


def _run_through(tree: KeyTree, catalog: Catalog, refs: str, first: int) -> Iterator[tuple[Sql, Sql]]:
    """Name the row that a key belongs to, and those that the key itself runs through."""
    yield sql.Literal(qualified(tree.table)), text_array([_element(refs, first + i) for i in range(tree.width)])
    place = first
    places: dict[str, int] = {}
    for part in tree.parts:
        if isinstance(part, KeyColumn):
            places[part.column] = place
            place += 1
        else:
            yield from _run_through(part.target, catalog, refs, place)
            place += part.target.width
    yield from _referred_by(tree.table, catalog, refs, places)


def _referred_by(name: TableName, catalog: Catalog, array: str, places: Mapping[str, int]) -> Iterator[tuple[Sql, Sql]]:
    """Name the rows that values of a table refer to, by the ``places`` at which they stand in an array."""
    table = catalog.table(name)
    for key in () if table is None else table.foreign_keys:
        if places.keys() >= set(key.columns):
            yield (
                sql.Literal(qualified(key.target)),
                text_array([_element(array, places[column]) for column in key.columns]),
            )


def _element(array: str, place: int) -> Sql:
    return sql.SQL("({})[{}]").format(sql.SQL(array), sql.Literal(place))  # one of our own names
