"""Say a table's rows in SQL, the same way on both sides: key leaves and contents as text. Pure: it runs nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from psycopg import sql

from dbsync.keys.expression import column_sql, flatten, local_id, row_key_of, table_sql, text_array, text_of
from dbsync.model.catalog import Table
from dbsync.model.names import TableName
from dbsync.model.registration import GenericReference, KeyColumn, KeyReference, KeyTree, RegisteredTable
from dbsync.verify.report import GONE
from dbsync.verify.views import View, Views

Sql = sql.Composable
_ROW = "r"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSql:
    """How one side says its rows: the placeholders of the statement ``keyed``."""

    table: Sql
    joins: Sql
    key: Sql
    unkeyed: Sql
    """Whether ``s.key`` is no key, because a leaf that no key may lack is null."""
    local: Sql
    content: Sql
    loose: Sql
    """References that nothing holds; GONE for one that points to no row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is compared of a table: the values, references and generic references that both sides have."""

    registered: RegisteredTable
    views: Views
    values: tuple[str, ...]
    references: tuple[KeyReference, ...]
    generics: tuple[GenericReference, ...]

    def names(self) -> tuple[str, ...]:
        """Name the elements of the contents, in their order."""
        return (*self.values, *(", ".join(reference.columns) for reference in self.references if not reference.soft))

    def loose_names(self) -> tuple[str, ...]:
        """Name the references that nothing holds, in their order."""
        soft = (", ".join(reference.columns) for reference in self.references if reference.soft)
        return (*soft, *(generic.id_column for generic in self.generics))


def spelled(parts: Parts) -> str:
    """Stand for what is compared and how each value is spelled for it, in 64 hexadecimal digits.

    Two that come to the same without having seen each other's databases say equal rows alike.
    """
    canonical, exact = parts.views.canonical, parts.views.exact
    trees = [parts.registered.key, *(reference.target for reference in parts.references)]
    trees += [tree for generic in parts.generics for _, tree in sorted(generic.targets.items())]
    leaves = [canonical(*leaf) if leaf else "" for tree in trees for leaf in _leaf_columns(tree)]
    values = [exact(parts.registered.name, column) for column in parts.values]
    said = json.dumps([parts.names(), parts.loose_names(), leaves, values])
    return hashlib.sha256(said.encode()).hexdigest()


def row_sql(parts: Parts, view: View) -> RowSql:
    """Say the rows as one side has them.

    All joins are outer joins: a target that is not there leaves nulls, it never removes a row from the comparison.
    """
    saying = _Saying(parts=parts, view=view)
    name = parts.registered.name
    key = saying.leaves(parts.registered.key, _ROW)
    content = [saying.value(column) for column in parts.values]
    content += [saying.reference(reference) for reference in parts.references if not reference.soft]
    loose = [saying.soft(reference) for reference in parts.references if reference.soft]
    loose += [saying.generic(generic) for generic in parts.generics]
    return RowSql(
        table=table_sql(name),
        joins=sql.SQL(" ").join(saying.joins),
        key=text_array(key),
        unkeyed=_unkeyed(_required(parts.registered.key, parts.views.source)),
        local=_local(view.table(name)),
        content=text_array(content),
        loose=text_array(loose),
    )


def type_reference(generic: GenericReference, references: Sequence[KeyReference]) -> KeyReference | None:
    """Find the ordinary reference to the content type table that a generic one goes by."""
    return next((r for r in references if r.columns == (generic.type_column,)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Saying:
    """One side's rows while they are being said: aliases are counted and joins gathered on the way."""

    parts: Parts
    view: View
    joins: list[Sql] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def leaves(self, tree: KeyTree, alias: str) -> list[Sql]:
        """Say a key's leaves, canonically."""
        plain = self._plain_leaves(tree, alias)
        canonical = self.parts.views.canonical
        templates = [canonical(*leaf) if leaf else "" for leaf in _leaf_columns(tree)]
        return [_filled(template, leaf) for template, leaf in zip(templates, plain, strict=True)]

    def value(self, column: str) -> Sql:
        """Say a value column."""
        name = self.parts.registered.name
        found = self.view.table(name).column(column)
        assert found is not None, column
        return _filled(self.parts.views.exact(name, column), text_of(_ROW, found))

    def reference(self, reference: KeyReference) -> Sql:
        """Say a reference as its target's key; by leaves that are null where it has a target without a key."""
        return _where_set(reference.columns, _as_text(self.leaves(self._pseudo_tree(reference), _ROW)))

    def soft(self, reference: KeyReference) -> Sql:
        """Say a reference that no constraint holds as its target's key, GONE where it has no target."""
        if reference.target.row_id:
            leaves = [self._living_row_key(reference.target, local_id(_ROW, reference.columns), sql.SQL("true"))]
        else:
            leaves = self.leaves(self._pseudo_tree(reference), _ROW)
        return _where_set(reference.columns, _gone_if_nothing(leaves))

    def generic(self, generic: GenericReference) -> Sql:
        """Say a generic reference as its target's key, in the table that the type's key names.

        The type itself is compared as the ordinary reference it is. Nothing holds such a reference either.
        """
        kind = type_reference(generic, self.parts.references)
        assert kind is not None, generic.type_column
        leaves = self._plain_leaves(self._pseudo_tree(kind), _ROW)
        label = sql.SQL("pg_catalog.array_to_string({}, '.')").format(text_array(leaves))
        cases = [
            sql.SQL("WHEN {} OPERATOR(pg_catalog.=) {} THEN {}").format(
                label, sql.Literal(model), _gone_if_nothing(self._generic_leaves(generic, label, model))
            )
            for model in sorted(generic.targets)
        ]
        if not cases:
            return sql.SQL("NULL::pg_catalog.text")
        return _where_set((generic.id_column,), sql.SQL("CASE {} END").format(sql.SQL(" ").join(cases)))

    def _generic_leaves(self, generic: GenericReference, label: Sql, model: str) -> list[Sql]:
        """Join one of the tables pointed to. Ids are matched as text: a text column holds anything."""
        tree, identity = generic.targets[model], local_id(_ROW, [generic.id_column])
        meant = sql.SQL("{} OPERATOR(pg_catalog.=) {}").format(label, sql.Literal(model))
        if tree.row_id:
            return [self._living_row_key(tree, identity, meant)]
        return self.leaves(tree, self._target(tree, identity, meant))

    def _living_row_key(self, tree: KeyTree, identity: Sql, meant: Sql) -> Sql:
        """Say the UUID of a row that is there: one that is gone may have one as well, which stands for it."""
        alias = self._target(tree, identity, meant)
        return row_key_of(tree.table, local_id(alias, self.view.table(tree.table).primary_key))

    def _target(self, tree: KeyTree, identity: Sql, meant: Sql) -> str:
        """Join a row by its id as text, where a condition holds; give its alias."""
        alias = f"k{next(self.numbers)}"
        self.joins.append(
            sql.SQL("LEFT JOIN {} {} ON {} AND {} OPERATOR(pg_catalog.=) {}").format(
                table_sql(tree.table),
                sql.Identifier(alias),
                meant,
                local_id(alias, self.view.table(tree.table).primary_key),
                identity,
            )
        )
        return alias

    def _plain_leaves(self, tree: KeyTree, alias: str) -> tuple[Sql, ...]:
        flat = flatten(tree, alias, self.view.catalog, self.numbers, optional=True)
        self.joins.extend(flat.joins)
        return flat.leaves

    def _pseudo_tree(self, reference: KeyReference) -> KeyTree:
        """Make a key of one reference, whose leaves are the leaves of the key it stands for."""
        return KeyTree(table=self.parts.registered.name, parts=(reference,))


def _leaf_columns(tree: KeyTree) -> list[tuple[TableName, str] | None]:
    """Give the column behind each leaf; None behind a row's UUID."""
    if tree.row_id:
        return [None]
    found: list[tuple[TableName, str] | None] = []
    for part in tree.parts:
        found.extend([(tree.table, part.column)] if isinstance(part, KeyColumn) else _leaf_columns(part.target))
    return found


def _required(tree: KeyTree, view: View, *, optional: bool = False) -> list[bool]:
    """Say of each leaf whether a row without it has no key: it is neither nullable nor behind anything nullable."""
    if tree.row_id:
        return [not optional]
    found: list[bool] = []
    for part in tree.parts:
        columns = (part.column,) if isinstance(part, KeyColumn) else part.columns
        nullable = optional or any(c.nullable for c in view.table(tree.table).columns if c.name in columns)
        found.extend([not nullable] if isinstance(part, KeyColumn) else _required(part.target, view, optional=nullable))
    return found


def _unkeyed(required: Sequence[bool]) -> Sql:
    tests = [sql.SQL("s.key[{}] IS NULL").format(sql.Literal(n)) for n, must in enumerate(required, start=1) if must]
    return sql.SQL(" OR ").join(tests) if tests else sql.SQL("false")


def _local(table: Table) -> Sql:
    """Name a row by its primary key, for a person to find it; by its place where it has none."""
    return text_array([local_id(_ROW, [column]) for column in table.primary_key or ("ctid",)])


def _as_text(leaves: Sequence[Sql]) -> Sql:
    return sql.SQL("{}::pg_catalog.text").format(text_array(leaves))


def _gone_if_nothing(leaves: Sequence[Sql]) -> Sql:
    nothing = "{" + ",".join(["NULL"] * len(leaves)) + "}"
    return sql.SQL("coalesce(NULLIF({}, {}), {})").format(_as_text(leaves), sql.Literal(nothing), sql.Literal(GONE))


def _where_set(columns: Sequence[str], said: Sql) -> Sql:
    """Say a reference only where all its columns are set; else it is none."""
    names = sql.SQL(", ").join(column_sql(_ROW, column) for column in columns)
    return sql.SQL("CASE WHEN pg_catalog.num_nulls({}) OPERATOR(pg_catalog.=) 0 THEN {} END").format(names, said)


def _filled(template: str, text: Sql) -> Sql:
    return sql.SQL(template).format(text) if template else text
