"""A row's key as a change of the row has it."""

from __future__ import annotations

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
