"""A row's key as a change of the row has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

from psycopg import sql

from dbsync.keys.expression import Sql
from dbsync.model.layout import Layout
from dbsync.model.registration import KeyColumn, KeyTree


def has_key(tree: KeyTree, layout: Layout) -> bool:
    """Say whether a change tells all of a key: a migration may have taken or renamed a column of it."""
    known = {reference.columns for reference in layout.references}
    return all(
        layout.position(part.column) is not None if isinstance(part, KeyColumn) else part.columns in known
        for part in tree.parts
    )


def leaves_of(tree: KeyTree, layout: Layout, *, image: Sql, refs: Sql) -> Sql:
    """Say a key's leaves from a change of its table: columns from the image, references and a UUID from the refs."""
    if tree.row_id:
        return sql.SQL("({})[1:1]").format(refs)
    first_leaf = {reference.columns: first for reference, first in layout.reference_positions()}
    parts: list[Sql] = []
    for part in tree.parts:
        if isinstance(part, KeyColumn):
            parts.append(sql.SQL("ARRAY[({})[{}]]").format(image, sql.Literal(layout.position(part.column))))
        else:
            first = first_leaf[part.columns]
            last = first + part.target.width - 1
            parts.append(sql.SQL("({})[{}:{}]").format(refs, sql.Literal(first), sql.Literal(last)))
    return sql.SQL(" || ").join(parts)


def key_of(layouts: Mapping[int, Layout], *, image: LiteralString, refs: LiteralString) -> Sql:
    """Compose a change's key, whatever its layout; null where it has none, or is not told yet."""
    told = [
        sql.SQL("WHEN {} THEN {}").format(
            sql.Literal(identity), leaves_of(layout.key, layout, image=sql.SQL(image), refs=sql.SQL(refs))
        )
        for identity, layout in sorted(layouts.items())
        if layout.key is not None and not layout.key.row_id and has_key(layout.key, layout)
    ]
    if not told:
        return sql.SQL("NULL::text[]")
    return sql.SQL("(CASE WHEN c.unresolved IS NULL THEN CASE c.layout {} END END)").format(sql.SQL(" ").join(told))
