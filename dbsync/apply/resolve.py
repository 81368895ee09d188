"""Key resolution: natural keys to the upstream's own ids, by joins. Pure: it composes, PostgreSQL resolves.

Leaves are compared in the type and by the equality of the upstream column they stand for, never as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from psycopg import sql

from dbsync.errors import Refusal
from dbsync.keys.expression import Sql, column_sql, qualified, table_sql, value_of
from dbsync.model.catalog import Catalog, Column, Table
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyReference, KeyTree

ROW_KEY = Column(name="row_key", type="uuid", cast="uuid", nullable=False)
"""What the leaf of a ``row_id`` key is."""


def target_table(catalog: Catalog, name: TableName) -> Table:
    """Find a table upstream, or say that it is not there."""
    table = catalog.table(name)
    if table is None:
        raise Refusal(
            f"table {name} does not exist upstream",
            where="upstream",
            hint="migrate the upstream; the link goes on by itself",
        )
    return table


def target_column(table: Table, name: str) -> Column:
    """Find a column upstream, or say that it is not there."""
    column = table.column(name)
    if column is None:
        raise Refusal(
            f"table {table.name} has no column {name} upstream",
            where="upstream",
            hint="migrate the upstream; the link goes on by itself",
        )
    return column


def leaf_columns(tree: KeyTree, catalog: Catalog) -> list[Column]:
    """Give the upstream column that each leaf of a key is compared with."""
    if tree.row_id:
        return [ROW_KEY]
    table = target_table(catalog, tree.table)
    found: list[Column] = []
    for part in tree.parts:
        if isinstance(part, KeyColumn):
            found.append(target_column(table, part.column))
        else:
            found.extend(leaf_columns(part.target, catalog))
    return found


def typed_leaves(tree: KeyTree, catalog: Catalog, array: Sql, first: int) -> list[Sql]:
    """Read the leaves of a key out of an array of text, from place ``first``."""
    return [
        value_of(sql.SQL("{}[{}]").format(array, sql.Literal(first + i)), column)
        for i, column in enumerate(leaf_columns(tree, catalog))
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A row that joins look up: the joins, and its alias."""

    joins: tuple[Sql, ...]
    alias: str
    tree: KeyTree

    def value(self, catalog: Catalog, column: str) -> Sql:
        """Say a column of the row; null where nothing was found."""
        if not self.tree.row_id:
            return column_sql(self.alias, column)
        found = target_column(target_table(catalog, self.tree.table), column)
        text = column_sql(self.alias, "local_id")
        if len(self.tree.row_id) > 1:
            place = sql.Literal(self.tree.row_id.index(column) + 1)
            text = sql.SQL("({}::pg_catalog.text[])[{}]").format(text, place)
        return value_of(text, found)

    @property
    def is_missing(self) -> Sql:
        """Say that nothing was found."""
        system = "row_key" if self.tree.row_id else "tableoid"
        return sql.SQL("{} IS NULL").format(column_sql(self.alias, system))


def look_up(
    tree: KeyTree, leaves: Sequence[Sql], catalog: Catalog, prefix: str, numbers: Iterator[int] | None = None
) -> Found:
    """Join the row that has the natural key ``leaves`` (typed expressions), following the key's own references."""
    numbers = count(1) if numbers is None else numbers
    alias = f"{prefix}{next(numbers)}"
    if tree.row_id:
        join = sql.SQL("LEFT JOIN dbsync.row_key {a} ON {a}.relation = {relation} AND {a}.row_key = {leaf}").format(
            a=sql.Identifier(alias), relation=sql.Literal(qualified(tree.table)), leaf=leaves[0]
        )
        return Found(joins=(join,), alias=alias, tree=tree)
    table = target_table(catalog, tree.table)
    joins: list[Sql] = []
    conditions: list[Sql] = []
    place = 0
    for part in tree.parts:
        if isinstance(part, KeyColumn):
            conditions.append(equal(alias, target_column(table, part.column), leaves[place]))
            place += 1
            continue
        below_leaves = leaves[place : place + part.target.width]
        place += part.target.width
        below = look_up(part.target, below_leaves, catalog, prefix, numbers)
        joins.extend(below.joins)
        conditions.extend(reference_conditions(part, alias, table, below, below_leaves, catalog))
    if all(column.nullable for column in leaf_columns(tree, catalog)):
        conditions.append(sql.SQL("({}) IS NOT NULL").format(coalesced(leaves)))
    joins.append(
        sql.SQL("LEFT JOIN {} {} ON {}").format(
            table_sql(tree.table), sql.Identifier(alias), sql.SQL(" AND ").join(conditions)
        )
    )
    return Found(joins=tuple(joins), alias=alias, tree=tree)


def reference_conditions(
    part: KeyReference, alias: str, table: Table, below: Found, leaves: Sequence[Sql], catalog: Catalog
) -> Iterator[Sql]:
    """Say that the row ``alias`` refers to the row found below; to none only where none was meant."""
    if any(target_column(table, here).nullable for here in part.columns):
        yield sql.SQL("({} IS NULL OR NOT {})").format(coalesced(leaves), below.is_missing)
    for here, there in zip(part.columns, part.target_columns, strict=True):
        yield equal(alias, target_column(table, here), below.value(catalog, there))


def same(left: Sql, column: Column, right: Sql) -> Sql:
    """Equate two values of a column that are not null, by the equality of its type wherever that is."""
    return sql.SQL("{} {} {}").format(left, sql.SQL(column.equals), right)  # from the catalog


def equal(alias: str, column: Column, value: Sql) -> Sql:
    """Equate a column with a value, NULL-safely where the column may be null and still usable by an index where not."""
    left = column_sql(alias, column.name)
    if not column.nullable:
        return same(left, column, value)
    return sql.SQL("({} OR ({} IS NULL AND {} IS NULL))").format(same(left, column, value), left, value)


def coalesced(leaves: Sequence[Sql]) -> Sql:
    """Give something that is null exactly when every leaf is: the reference itself is null."""
    texts = [sql.SQL("({})::pg_catalog.text").format(leaf) for leaf in leaves]
    return sql.SQL("coalesce({})").format(sql.SQL(", ").join(texts))


def held_by(aliases: Sequence[str], column: str) -> Sql:
    """Say a column of the row found upstream; null may be what it holds."""
    if len(aliases) == 1:
        return column_sql(aliases[0], column)
    first, second = aliases
    return sql.SQL("CASE WHEN {} IS NOT NULL THEN {} ELSE {} END").format(
        column_sql(first, "tableoid"), column_sql(first, column), column_sql(second, column)
    )


def first_of(aliases: Sequence[str], column: str) -> Sql:
    """Say a column of the first of some joined rows that is there."""
    found = [column_sql(alias, column) for alias in aliases]
    return found[0] if len(found) == 1 else sql.SQL("coalesce({})").format(sql.SQL(", ").join(found))
