"""Generic references that gave no key at capture: told from other changes of the same transaction, else as rows that are gone.

No constraint holds such a reference, so an audit trail points to rows that were deleted long ago, or by the very transaction
that writes of it. A row that is gone has a UUID in ``dbsync.row_key``, which travels behind its key; upstream that stands
for an id which no living row has, as for a soft reference (dbsync/changelog/stitch.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dbsync.changelog.leaves import has_key, leaves_of
from dbsync.changelog.untold import untold
from dbsync.keys.expression import Query, Sql, null_array, qualified, text_array
from dbsync.model.layout import Layout, LayoutGeneric
from dbsync.model.registration import KeyColumn, KeyTree
from dbsync.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """One generic reference of a layout's changes in the window that gave no key, and the tables it points into there."""

    layout: int
    place: Sql
    first: int
    targets: tuple[KeyTree, ...]

    def name_gone_rows(self, connection: psycopg.Connection) -> None:
        """Give each row that is gone a UUID: the same for all who refer to it."""
        for tree in self.targets:
            query = statement("changelog", "name_gone_rows").format(gone=self._gone(tree), **self._into(tree))
            connection.execute(query)

    def from_changes(self, layouts: Mapping[int, Layout], beside: list[int]) -> Iterator[Query]:
        """Compose what tells keys from the changes beside: those of rows that the transaction deleted, or made later."""
        for tree in self.targets:
            for other in beside:
                target = layouts[other]
                if target.table == tree.table and target.key is not None and has_key(tree, target):
                    yield self._from_change(tree, target, other)

    def tell_gone(self, connection: psycopg.Connection) -> int:
        """Tell the rest, as rows that are gone or as nothing that is known; give the number of those that are gone."""
        told = 0
        for tree in self.targets:
            query = statement("changelog", "stitch_gone").format(
                key=_behind(tree, _gone_key(tree), sql.SQL("m.gone")),
                gone=self._gone(tree),
                **self._at,
                **self._into(tree),
            )
            told += connection.execute(query).rowcount
        connection.execute(statement("changelog", "let_lost").format(**untold(self.layout, self.place)))
        return told

    def _from_change(self, tree: KeyTree, target: Layout, other: int) -> Query:
        before = sql.SQL("coalesce(t.old_refs, t.refs)")
        return statement("changelog", "stitch").format(
            column=sql.Identifier("refs"),
            is_past=sql.Literal(False),
            pointed_to=sql.Literal(""),
            needs_refs=sql.Literal(any(not isinstance(part, KeyColumn) for part in tree.parts)),
            target_layout=sql.Literal(other),
            leaves=_as_text(tree, leaves_of(tree, target, image=sql.SQL("t.image"), refs=sql.SQL("t.refs"))),
            old_leaves=_as_text(tree, leaves_of(tree, target, image=sql.SQL("t.old_image"), refs=before)),
            **self._at,
            **self._into(tree),
        )

    def _gone(self, tree: KeyTree) -> Sql:
        """Ask which of the ids are of rows that are gone."""
        return _gone(tree, sql.SQL("ARRAY({})").format(statement("changelog", "lost_ids").format(**self._into(tree))))

    @property
    def _at(self) -> dict[str, Sql]:
        return {"before": sql.Literal(self.first), "behind": sql.Literal(self.first + 2)}

    def _into(self, tree: KeyTree) -> dict[str, Sql]:
        relation = sql.Literal(qualified(tree.table))
        only = sql.SQL("AND m.refs[{}] = {}").format(sql.Literal(self.first), relation)
        return {"relation": relation, **untold(self.layout, self.place, only)}


def lost(connection: psycopg.Connection, layout: int, definition: Layout) -> Iterator[Lost]:
    """Find the generic references of a layout's changes in the window that gave no key."""
    for number, (generic, first) in enumerate(definition.generic_positions(), start=1):
        place = sql.Literal(2 * len(definition.references) + number)  # behind those of the references, of both rows
        pointed_into = statement("changelog", "pointed_into").format(table=sql.Literal(first), **untold(layout, place))
        names = {row[0] for row in connection.execute(pointed_into).fetchall()}
        if names:
            yield Lost(layout=layout, place=place, first=first, targets=_named(generic, names))


def _named(generic: LayoutGeneric, names: set[str]) -> tuple[KeyTree, ...]:
    return tuple(tree for tree in generic.targets if qualified(tree.table) in names)


def _as_text(tree: KeyTree, leaves: Sql) -> Sql:
    """Say a key as the one element that it is here; a key of nulls only would be that of no row."""
    one = sql.SQL("(SELECT g.id FROM ({}) g)").format(_gone(tree, sql.SQL("ARRAY[m.id]")))
    return sql.SQL(
        "(SELECT CASE WHEN array_remove(f.leaves, NULL) <> '{{}}' THEN ARRAY[({})::text] END FROM (SELECT {} AS leaves) f)"
    ).format(_behind(tree, sql.SQL("f.leaves"), one), leaves)


def _behind(tree: KeyTree, leaves: Sql, identity: Sql) -> Sql:
    """Say a key with the UUID of its row behind it, where the row is gone."""
    return statement("changelog", "gone_row_key").format(
        key=leaves, relation=sql.Literal(qualified(tree.table)), id=identity
    )


def _gone(tree: KeyTree, ids: Sql) -> Sql:
    return statement("changelog", "gone_ids").format(relation=sql.Literal(qualified(tree.table)), ids=ids)


def _gone_key(tree: KeyTree) -> Sql:
    columns = [sql.Literal(part.column) for part in tree.parts if isinstance(part, KeyColumn)]
    return statement("changelog", "gone_key").format(
        schema=sql.Literal(tree.table.schema),
        name=sql.Literal(tree.table.name),
        relation=sql.Literal(qualified(tree.table)),
        columns=text_array(columns if len(columns) == len(tree.parts) else []),
        id=sql.SQL("m.gone"),
        unknown=null_array(tree.width),
    )
