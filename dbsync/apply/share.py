"""One layout's share of a segment, as SQL: bound to the upstream's own rows. Pure.

The rows pass three shapes. The first two are made in :mod:`dbsync.apply.typed`. *net*: one per row of the source, its last
image beside its first old one. *typed*: values and leaves read by their types' input functions, named by place (``v1`` the
first value, ``l1_1`` the first leaf of the first reference; ``b..`` what they were before, ``a..`` after the first of several
changes, ``d..`` that they differ, ``o..`` the old key). *bound*: each reference resolved (``f1_1``), the row's own match
upstream (``found``, ``e1`` its primary key, ``m1`` what it holds in the first column to be written, ``version``) and
``missing``, the place of the first reference that finds nothing. A fourth, *judged*, is the business of
:mod:`dbsync.apply.judge`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from psycopg import sql

from dbsync.apply.resolve import (
    Found,
    coalesced,
    equal,
    first_of,
    held_by,
    look_up,
    reference_conditions,
    same,
    target_column,
    target_table,
)
from dbsync.apply.wish import Wish
from dbsync.errors import Refusal
from dbsync.keys.expression import Sql, column_sql, named, qualified, table_sql, text_array, value_of
from dbsync.keys.postponed import may_follow
from dbsync.model.catalog import Catalog, Column, Table
from dbsync.model.layout import Layout, LayoutGeneric
from dbsync.model.names import TableName
from dbsync.model.policy import Policy
from dbsync.model.registration import KeyColumn, KeyReference, KeyTree
from dbsync.statements import statement

WIDE = 300
"""Value columns up to which a row is told beside what it was by columns of its own: PostgreSQL lists 1,664 at most."""

RANGE = sql.SQL("<<range>>")
"""Stands for the range of the stage, so that a statement is composed once and used for many."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """The changes of one layout in a range of the stage, and how they are to be read.

    ``reduce`` says that a row may have several changes, ``updates`` that some tell how the row was before, ``renames``
    that they are found by their old key. ``late`` are tables of a cycle whose rows may not be there yet; ``catch_up`` is
    the second pass, in which they are, and only the references to them are written. ``patient`` deletes wait for a row of
    their key that is not there yet. ``ignored`` are columns that the upstream does not have. ``ordered`` says that rows are
    to be taken in the order of their keys, for others want them too.
    ``edited``, where it is known, are the columns outside the key that the changes are about: no other is read.
    ``wish``, where it was asked for, says what there is to do, where triggers run though nothing is done.
    ``pointed``, where it is known, are the tables that generic references point into: no other is looked into.
    """

    identity: int
    layout: Layout
    catalog: Catalog
    policy: Policy = field(default_factory=Policy)
    ignored: frozenset[str] = frozenset()
    reduce: bool = True
    updates: bool = True
    renames: bool = False
    ordered: bool = False
    deletes_only: bool = False
    patient: bool = False
    late: frozenset[TableName] = frozenset()
    catch_up: frozenset[TableName] = frozenset()
    wish: Wish | None = None
    edited: frozenset[str] | None = None
    pointed: frozenset[str] | None = None

    @cached_property
    def table(self) -> Table:
        """Give the upstream's table."""
        table = target_table(self.catalog, self.layout.table)
        if not table.primary_key:
            raise Refusal(f"table {table.name} has no primary key upstream", where="upstream")
        return table

    @cached_property
    def key(self) -> KeyTree:
        """Give the natural key, without which nothing can be applied."""
        if self.layout.key is None:
            raise Refusal(
                f"a change of {self.layout.table} was captured without its key",
                where="source",
                why="the table, or one its key runs through, was altered after the triggers were installed",
                hint="dbsync check; then dbsync install-triggers",
            )
        return self.layout.key

    @cached_property
    def values(self) -> list[tuple[int, Column]]:
        """Give the value columns, each with its place in the image."""
        key_columns = {part.column for part in self.key.parts if isinstance(part, KeyColumn)}
        return [
            (place, target_column(self.table, name))
            for place, (name, _) in enumerate(self.layout.columns, start=1)
            if name not in self.ignored and (self.edited is None or name in self.edited | key_columns)
        ]

    @cached_property
    def references(self) -> list[tuple[int, KeyReference, int]]:
        """Give the references needed, each with its place and the place of its first leaf."""
        key_columns = {part.columns for part in self.key.parts if not isinstance(part, KeyColumn)}
        return [
            (place, reference, first)
            for place, (reference, first) in enumerate(self.layout.reference_positions(), start=1)
            if reference.columns in key_columns
            or not (self.deletes_only or self.edited is not None or self.ignored.intersection(reference.columns))
        ]

    @cached_property
    def generics(self) -> list[tuple[int, LayoutGeneric, int]]:
        """Give the generic references, each with its place behind the references and that of its first leaf."""
        if self.deletes_only or self.edited is not None:
            return []
        behind = len(self.layout.references)
        return [
            (behind + i, self._narrowed(generic), first)
            for i, (generic, first) in enumerate(self.layout.generic_positions(), start=1)
            if generic.id_column not in self.ignored
        ]

    def _narrowed(self, generic: LayoutGeneric) -> LayoutGeneric:
        if self.pointed is None:
            return generic
        return replace(generic, targets=tuple(t for t in generic.targets if qualified(t.table) in self.pointed))

    @cached_property
    def moved(self) -> frozenset[str]:
        """Name the columns that a constraint upstream changes together with the row that they refer to."""
        acting = (key for key in self.table.foreign_keys if key.acts_on_update)
        return frozenset(column for key in acting for column in key.columns)

    @cached_property
    def wide(self) -> bool:
        """Say whether rows have so many columns that images and the found row are carried whole, and read where they are asked."""
        return len(self.values) > WIDE

    def differs(self, alias: str, place: int) -> Sql:
        """Say that an update changed a value."""
        if not self.wide:
            return column_sql(alias, f"d{place}")
        return sql.SQL("({0}.old_image[{1}] IS DISTINCT FROM {0}.image[{1}])").format(
            sql.Identifier(alias), sql.Literal(place)
        )

    def was(self, alias: str, place: int, column: Column) -> Sql:
        """Say what a value was before, where it was changed."""
        if not self.wide:
            return column_sql(alias, f"b{place}")
        return value_of(sql.SQL("{}.old_image[{}]").format(sql.Identifier(alias), sql.Literal(place)), column)

    def held(self, alias: str, name: str, i: int) -> Sql:
        """Say what upstream holds in a column, the ``i``-th that is looked at."""
        if not self.wide:
            return column_sql(alias, f"m{i}")
        return sql.SQL("({}).{}").format(column_sql(alias, "held_row"), sql.Identifier(name))

    def is_self(self, reference: KeyReference) -> bool:
        """Say whether a reference points into the table itself."""
        return reference.target.table == self.layout.table

    def in_key(self, reference: KeyReference) -> bool:
        """Say whether a reference is a part of the row's own key."""
        return any(not isinstance(part, KeyColumn) and part.columns == reference.columns for part in self.key.parts)

    def optional(self, reference: KeyReference) -> bool:
        """Say whether the row may be written though the reference finds nothing (yet)."""
        if reference.target.table in self.late:
            return True
        return reference.soft

    def stands_in(self, reference: KeyReference) -> bool:
        """Say whether a new row gets another id until a reference, which must be set, finds the row that it means."""
        if reference.target.table not in self.late or not self.must_be_set(reference):
            return False
        return may_follow(reference, self.table, target_table(self.catalog, reference.target.table))

    def may_be_late(self, tables: Collection[TableName], generic: LayoutGeneric) -> list[TableName]:
        """Give those of some tables that a generic reference may point into; none where it must be set at once."""
        if not target_column(self.table, generic.id_column).nullable:
            return []
        return sorted({tree.table for tree in generic.targets}.intersection(tables))

    def points_into(self, tables: Collection[TableName], generic: LayoutGeneric, place: int, alias: str) -> Sql:
        """Say that a generic reference points into one of some tables, and may be null until their rows are there."""
        names = [sql.Literal(qualified(table)) for table in self.may_be_late(tables, generic)]
        if not names:
            return sql.SQL("false")
        return sql.SQL("coalesce({} = ANY ({}), false)").format(column_sql(alias, f"gt{place}"), text_array(names))

    def must_be_set(self, reference: KeyReference) -> bool:
        """Say whether a reference must not be null upstream."""
        return not all(target_column(self.table, name).nullable for name in reference.columns)

    # Bound rows.

    def bound(self, written: Sequence[str], *, without_self: bool = False, as_new: bool = False) -> Sql:
        """Compose the bound rows with what upstream holds in the columns to be written.

        Self-references are left for later if so asked; ``as_new`` rows are not looked for.
        """
        columns: list[Sql] = [sql.SQL("y.*")]
        joins: list[Sql] = []
        pointed: list[tuple[int, LayoutGeneric, Sql]] = []
        for place, reference, _ in self.references:
            if without_self and self.is_self(reference):
                continue
            found = self.resolve(reference, place)
            joins += found.joins
            joins += [self._gone_target(reference, place)] if reference.soft else []
            columns += self.resolved(reference, place, found)
        for place, generic, _ in self.generics:
            identity, more = self.resolve_generic(generic, place)
            column = target_column(self.table, generic.id_column)
            columns.append(named(value_of(identity, column), f"f{place}_1"))
            joins += more
            pointed.append((place, generic, identity))
        if as_new:
            missing, _ = self.missing(self._outer(without_self), sql.SQL("true"), pointed)
            columns.append(named(missing, "missing"))
            return statement("apply", "bound").format(
                columns=sql.SQL(", ").join(columns), joins=sql.SQL("\n").join(joins)
            )
        joins += self._own_joins()
        own = ["t", "tn"] if self.renames else ["t"]
        columns.append(named(sql.SQL("{} IS NOT NULL").format(first_of(own, "tableoid")), "found"))
        columns.append(named(first_of(own, "xmin"), "version"))
        columns += self._held_values(own, written)
        columns += [named(first_of(own, name), f"e{i}") for i, name in enumerate(self.table.primary_key, start=1)]
        outer = self.missing(
            self._outer(without_self), sql.SQL("{} IS NULL").format(first_of(own, "tableoid")), pointed
        )
        columns += [named(e, f"{n}0" if without_self else n) for e, n in zip(outer, ("missing", "asked"), strict=True)]
        return statement("apply", "bound").format(columns=sql.SQL(", ").join(columns), joins=sql.SQL("\n").join(joins))

    def _held_values(self, own: Sequence[str], written: Sequence[str]) -> list[Sql]:
        if not self.wide:
            return [named(held_by(own, name), f"m{i}") for i, name in enumerate(written, start=1)]
        rows = [sql.SQL("ROW({}.*)::{}").format(sql.Identifier(one), table_sql(self.table.name)) for one in own]
        found = [column_sql(one, "tableoid") for one in own]
        cases = [sql.SQL("WHEN {} IS NOT NULL THEN {}").format(*pair) for pair in zip(found, rows, strict=True)]
        return [named(sql.SQL("CASE {} END").format(sql.SQL(" ").join(cases)), "held_row")]

    def resolved(self, reference: KeyReference, place: int, found: Found) -> list[Sql]:
        """Name the values that a resolved reference gives its columns."""
        values = [found.value(self.catalog, column) for column in reference.target_columns]
        if reference.soft:
            target = target_column(target_table(self.catalog, reference.target.table), reference.target_columns[0])
            departed = value_of(column_sql(f"gone{place}", "local_id"), target)
            values = [sql.SQL("coalesce({}, {})").format(value, departed) for value in values]
        return [named(value, f"f{place}_{i}") for i, value in enumerate(values, start=1)]

    def departed(self, reference: KeyReference, place: int) -> Sql:
        """Say the UUID that stands for a soft reference's gone target: the source's, or one made of its key."""
        leaves = self.leaf_names("y", reference, place)
        return sql.SQL(
            "coalesce({named}, CASE WHEN {said} IS NOT NULL THEN"
            " pg_catalog.md5({relation} || {key}::pg_catalog.text)::pg_catalog.uuid END)"
        ).format(
            named=column_sql("y", f"departed{place}"),
            said=coalesced(leaves),
            relation=sql.Literal(f"departed {qualified(reference.target.table)} "),
            key=self.asked(reference, place),
        )

    def _gone_target(self, reference: KeyReference, place: int) -> Sql:
        relation = sql.Literal(qualified(reference.target.table))
        return self._departed_join(f"gone{place}", relation, self.departed(reference, place))

    def _departed_join(self, alias: str, relation: Sql, departed: Sql) -> Sql:
        """Join the id that stands for a gone row."""
        return sql.SQL("LEFT JOIN dbsync.row_key {a} ON {a}.relation = {relation} AND {a}.row_key = {departed}").format(
            a=sql.Identifier(alias), relation=relation, departed=departed
        )

    def missing(
        self,
        references: list[tuple[int, KeyReference, Sql]],
        absent: Sql,
        pointed: Sequence[tuple[int, LayoutGeneric, Sql]] = (),
    ) -> tuple[Sql, Sql]:
        """Say which of the references finds nothing though it should, and the key it asked for.

        Each comes with its place and what is null when its lookup found nothing; ``absent`` says that the row itself is
        new upstream. ``pointed`` are the generic references, each with its place and the id it was resolved to.
        """
        cases: list[Sql] = []
        asked: list[Sql] = []
        for place, reference, anchor in references:
            condition = self._is_missing(reference, place, anchor, absent)
            if self.optional(reference) and not self.in_key(reference):
                if not self.stands_in(reference):
                    continue
                condition = sql.SQL("({} AND {})").format(self._matters(place, absent), column_sql("y", f"lost{place}"))
            cases.append(sql.SQL("WHEN {} THEN {}").format(condition, sql.Literal(place)))
            asked.append(sql.SQL("WHEN {} THEN {}").format(condition, self.asked(reference, place)))
        for place, generic, identity in pointed:
            target, key = column_sql("y", f"gt{place}"), column_sql("y", f"gk{place}")
            condition = sql.SQL("({} AND {} IS NOT NULL AND {} IS NULL AND NOT {})").format(
                self._matters(place, absent), key, identity, self.points_into(self.late, generic, place, "y")
            )
            cases.append(sql.SQL("WHEN {} THEN {}").format(condition, sql.Literal(place)))
            asked.append(sql.SQL("WHEN {} THEN ARRAY[{}, {}]").format(condition, target, key))
        if not cases:
            return sql.SQL("0"), sql.SQL("NULL::pg_catalog.text[]")
        return (
            sql.SQL("CASE {} ELSE 0 END").format(sql.SQL(" ").join(cases)),
            sql.SQL("CASE {} END").format(sql.SQL(" ").join(asked)),
        )

    def anchor(self, reference: KeyReference, place: int) -> Sql:
        """Say what is null when the lookup of a reference found nothing."""
        return column_sql(f"r{place}_1", "row_key" if reference.target.row_id else "tableoid")

    def _outer(self, without_self: bool) -> list[tuple[int, KeyReference, Sql]]:
        return [
            (place, reference, self.anchor(reference, place))
            for place, reference, _ in self.references
            if not (without_self and self.is_self(reference))
        ]

    def _is_missing(self, reference: KeyReference, place: int, anchor: Sql, absent: Sql) -> Sql:
        leaves = self.leaf_names("y", reference, place)
        lost = column_sql("y", f"lost{place}")
        unfound = sql.SQL("({} IS NOT NULL AND {} IS NULL)").format(coalesced(leaves), anchor)
        if self.in_key(reference):
            asks = sql.SQL("y.first_op <> 'I'" if self.patient else "NOT y.gone")
            return sql.SQL("({} OR ({} AND {}))").format(lost, asks, unfound)
        return sql.SQL("({} AND ({} OR {}))").format(self._matters(place, absent), lost, unfound)

    def _matters(self, place: int, absent: Sql) -> Sql:
        """Say that a reference is to be written: it was changed, or the row is new."""
        if not self.updates:
            return sql.SQL("NOT y.gone")
        return sql.SQL("NOT y.gone AND (y.whole OR {} OR {})").format(column_sql("y", f"dl{place}"), absent)

    def asked(self, reference: KeyReference, place: int) -> Sql:
        """Say the key a reference asks for, as text."""
        texts = [sql.SQL("{}::pg_catalog.text").format(leaf) for leaf in self.leaf_names("y", reference, place)]
        return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(texts))

    def leaf_names(self, alias: str, reference: KeyReference, place: int, prefix: str = "l") -> list[Sql]:
        """Name the typed leaves of a reference."""
        return [column_sql(alias, f"{prefix}{place}_{i}") for i in range(1, reference.target.width + 1)]

    def own_leaves(self, alias: str) -> list[Sql]:
        """Name the typed leaves of the row's own (new) key."""
        if self.layout.keyed_by_row_id:
            return [column_sql(alias, "own_key")]
        leaves: list[Sql] = []
        for part in self.key.parts:
            if isinstance(part, KeyColumn):
                leaves.append(column_sql(alias, f"v{self.image_place(part.column)}"))
            else:
                place, reference = self.key_reference(part)
                leaves += self.leaf_names(alias, reference, place)
        return leaves

    # How they are made.

    def resolve(self, reference: KeyReference, place: int) -> Found:
        """Compose the lookup of a reference by its typed leaves."""
        return look_up(reference.target, self.leaf_names("y", reference, place), self.catalog, f"r{place}_")

    def _own_joins(self) -> list[Sql]:
        """Join the row that already is upstream as ``t``.

        A change that renames it finds it by its old key; where nothing has that, by its new one as ``tn``: a cascade of
        the upstream's own may have renamed it before.
        """
        if not self.renames:
            return self._join_own("t")
        return [*self._join_own("t", old=True), *self._join_own("tn", otherwise=sql.SQL("t.tableoid IS NULL"))]

    def _join_own(self, alias: str, *, old: bool = False, otherwise: Sql | None = None) -> list[Sql]:
        joins, conditions = self.own_row(alias, old=old)
        met = sql.SQL(" AND ").join([*([] if otherwise is None else [otherwise]), *conditions])
        return [
            *joins,
            sql.SQL("LEFT JOIN {} {} ON {}").format(table_sql(self.table.name), sql.Identifier(alias), met),
        ]

    def own_row(self, alias: str, *, old: bool = False) -> tuple[list[Sql], list[Sql]]:
        """Say by which joins, beside those of the references, and by which conditions ``alias`` is the row itself."""
        table = self.table
        conditions: list[Sql] = []
        joins: list[Sql] = []
        prefix = "o" if old else ""
        if self.layout.keyed_by_row_id:
            found = look_up(self.key, [column_sql("y", "own_key")], self.catalog, f"own_{alias}_")
            joins += found.joins
            conditions += [
                same(column_sql(alias, column), target_column(table, column), found.value(self.catalog, column))
                for column in self.key.row_id
            ]
        for part in self.key.parts:
            if isinstance(part, KeyColumn):
                value = column_sql("y", f"{prefix}v{self.image_place(part.column)}")
                conditions.append(equal(alias, target_column(table, part.column), value))
                continue
            place, reference = self.key_reference(part)
            if old:
                leaves = self.leaf_names("y", reference, place, "ol")
                found = look_up(reference.target, leaves, self.catalog, f"or{place}_")
                joins += found.joins
            else:
                leaves = self.leaf_names("y", reference, place)
                found = self.resolve(reference, place)
            conditions += reference_conditions(reference, alias, table, found, leaves, self.catalog)
        return joins, conditions

    def resolve_generic(self, generic: LayoutGeneric, place: int) -> tuple[Sql, list[Sql]]:
        """Compose the lookup of what a generic reference points to: its id as text, and the joins."""
        gone = f"gone{place}"
        joins = [self._departed_join(gone, column_sql("y", f"gt{place}"), column_sql("y", f"departed{place}"))]
        ids: list[Sql] = []
        for i, tree in enumerate(generic.targets, start=1):
            if self.catalog.table(tree.table) is None:
                continue
            leaves: list[Sql] = [column_sql("y", f"g{place}_{i}_{j}") for j in range(1, tree.width + 1)]
            found = look_up(tree, leaves, self.catalog, f"g{place}_{i}_")
            primary = target_table(self.catalog, tree.table).primary_key
            joins += found.joins
            ids.append(sql.SQL("{}::pg_catalog.text").format(found.value(self.catalog, primary[0])))
        return sql.SQL("coalesce({})").format(sql.SQL(", ").join([*ids, column_sql(gone, "local_id")])), joins

    def key_reference(self, part: KeyReference) -> tuple[int, KeyReference]:
        """Give the reference that a part of the key is, with its place."""
        return next((place, r) for place, r, _ in self.references if r.columns == part.columns)

    def image_place(self, column: str) -> int:
        """Say where in the image a key column stands."""
        place = self.layout.position(column)
        if place is None:
            raise Refusal(f"the key column {column} of {self.layout.table} is not among the values that travel")
        return place
