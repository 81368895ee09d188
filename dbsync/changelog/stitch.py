"""Stitching: references that gave no key at capture, told from other changes of the same transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import LiteralString

import psycopg
from psycopg import sql

from dbsync.changelog import generics, living
from dbsync.changelog.leaves import has_key, leaves_of
from dbsync.changelog.untold import untold
from dbsync.keys.expression import Query, Sql, qualified, text_array
from dbsync.model.layout import Layout
from dbsync.model.registration import KeyColumn, KeyReference
from dbsync.statements import statement

Columns = tuple[str, ...]


def unstitched(connection: psycopg.Connection) -> tuple[list[int], bool]:
    """Give the layouts with unresolved references in the window, and whether a trigger's statement is in it."""
    found = [row[0] for row in connection.execute(statement("changelog", "unstitched")).fetchall()]
    return [layout for layout in found if layout is not None], None in found


def stitch(connection: psycopg.Connection, layouts: Mapping[int, Layout], waiting: list[int], beside: list[int]) -> int:
    """Fill in what can be told, in place, before a batch is cut; give the number of references told.

    ``waiting`` are the layouts with unresolved references in the window, ``beside`` those of all changes in the same
    transactions. Goes on until nothing more is told: a grandchild waits for its child's key.
    """
    total = 0
    targets = {reference.target.table for layout in waiting for reference in layouts[layout].references}
    targets |= {tree.table for layout in waiting for generic in layouts[layout].generics for tree in generic.targets}
    connection.execute(statement("changelog", "make_siblings"))
    connection.execute(statement("changelog", "clear_siblings"))
    connection.execute(
        statement("changelog", "fill_siblings"), {"targets": [i for i in beside if layouts[i].table in targets]}
    )
    for other, columns in sorted({found for layout in waiting for found in _pointed_to(layout, layouts, beside)}):
        connection.execute(_by_other_columns(other, layouts[other], columns))
    statements = [s for layout in waiting for s in _statements(layout, layouts, beside)]
    pointing = [p for layout in waiting for p in generics.lost(connection, layout, layouts[layout])]
    for one in pointing:
        one.name_gone_rows(connection)
    statements += [s for one in pointing for s in one.from_changes(layouts, beside)]
    total += _told(connection, statements)
    if pointing:
        total += sum(one.tell_gone(connection) for one in pointing)
        total += _told(connection, statements)
    for layout in waiting:
        total += sum(living.tell(connection, at, reference) for at, reference in _places(layout, layouts[layout]))
        for step in _gone(layout, layouts[layout]):
            total += connection.execute(step).rowcount
    return total


def _told(connection: psycopg.Connection, statements: list[Query]) -> int:
    """Run statements that tell references until none tells any more; give the number of references told."""
    total = 0
    while told := sum(connection.execute(s).rowcount for s in statements):
        total += told
    return total


def _pointed_to(waiting: int, layouts: Mapping[int, Layout], beside: list[int]) -> Iterator[tuple[int, Columns]]:
    """Give the layouts whose rows are referred to by other columns than their id, and those columns."""
    for reference in layouts[waiting].references:
        for other in beside:
            columns = _other_columns(reference, layouts[other])
            if columns and layouts[other].table == reference.target.table:
                yield other, columns


def _other_columns(reference: KeyReference, target: Layout) -> Columns:
    """Give the columns that a reference points to; none where that is the id, which stays here or is written to new rows only."""
    travel = {name for name, _ in target.columns} - set(target.insert_only)
    return reference.target_columns if travel >= set(reference.target_columns) else ()


def _by_other_columns(other: int, layout: Layout, columns: Columns) -> Query:
    def held(image: LiteralString) -> Sql:
        values = [sql.SQL("{}[{}]").format(sql.SQL(image), sql.Literal(layout.position(name))) for name in columns]
        return values[0] if len(values) == 1 else sql.SQL("{}::text").format(text_array(values))

    return statement("changelog", "fill_siblings_by").format(
        pointed_to=sql.Literal(",".join(columns)),
        before=held("c.old_image"),
        after=held("c.image"),
        layout=sql.Literal(other),
    )


def _statements(waiting: int, layouts: Mapping[int, Layout], beside: list[int]) -> Iterator[Query]:
    for at, reference in _places(waiting, layouts[waiting]):
        for other in beside:
            target = layouts[other]
            if target.table == reference.target.table and target.key is not None and has_key(reference.target, target):
                yield _from_change(reference, target, at, sql.Literal(other))
        if reference.target.row_id:
            relation = sql.Literal(qualified(reference.target.table))
            yield statement("changelog", "stitch_row_key").format(relation=relation, **at)


def _places(waiting: int, layout: Layout) -> Iterator[tuple[dict[str, Sql], KeyReference]]:
    """Say where each reference's leaves are, of the row as it is and as it was."""
    references = layout.reference_positions()
    places = [(i, "refs", *positioned) for i, positioned in enumerate(references, start=1)]
    places += [(i + len(references), "old_refs", *positioned) for i, positioned in enumerate(references, start=1)]
    for place, column, reference, first in places:
        yield (
            {
                **untold(waiting, sql.Literal(place)),
                "column": sql.Identifier(column),
                "is_past": sql.Literal(column == "old_refs"),
                "before": sql.Literal(first - 1),
                "behind": sql.Literal(first + reference.target.width),
            },
            reference,
        )


def _gone(waiting: int, layout: Layout) -> Iterator[Query]:
    """Give the targets of soft references that are gone for good a UUID each: the same for all who refer to one."""
    for place, (reference, first) in enumerate(layout.reference_positions(), start=1):
        if not reference.soft:
            continue
        at = {
            **untold(waiting, sql.Literal(place)),
            "column": sql.Identifier("refs"),
            "relation": sql.Literal(qualified(reference.target.table)),
        }
        yield statement("changelog", "name_gone_rows").format(
            gone=statement("changelog", "lost_ids").format(**at), **at
        )
        behind = first + reference.width
        yield statement("changelog", "stitch_row_key").format(
            before=sql.Literal(behind - 2), behind=sql.Literal(behind), **at
        )


def _from_change(reference: KeyReference, target: Layout, at: dict[str, Sql], target_layout: Sql) -> Query:
    return statement("changelog", "stitch").format(
        leaves=leaves_of(reference.target, target, image=sql.SQL("t.image"), refs=sql.SQL("t.refs")),
        old_leaves=leaves_of(
            reference.target, target, image=sql.SQL("t.old_image"), refs=sql.SQL("coalesce(t.old_refs, t.refs)")
        ),
        target_layout=target_layout,
        pointed_to=sql.Literal(",".join(_other_columns(reference, target))),
        needs_refs=sql.Literal(any(not isinstance(part, KeyColumn) for part in reference.target.parts)),
        **at,
    )
