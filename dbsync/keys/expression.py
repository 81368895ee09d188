"""Natural keys as SQL expressions. Pure: it composes, it never runs anything.

A value leaves a row as text by its type's own output function and comes back by its own input function, so that what
arrives is what was there for every type that PostgreSQL itself can dump and restore.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import LiteralString

from psycopg import sql

from dbsync.model.catalog import Catalog, Column, Table
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyReference, KeyTree

Sql = sql.Composable
Query = sql.SQL | sql.Composed
"""A whole statement, as psycopg runs it."""


def table_sql(name: TableName) -> Sql:
    """Quote a table, always with its schema: nothing may depend on a search_path."""
    return sql.Identifier(name.schema, name.name)


@cache
def column_sql(alias: str, column: str) -> Sql:
    """Quote a column of an aliased row."""
    return settled(sql.Identifier(alias, column))


def settled(expression: Sql) -> sql.SQL:
    """Write an expression out that is to stand in many places: composing it anew in each is what takes long.

    >>> settled(sql.SQL("{} IS NULL").format(sql.Identifier("a", 'b"c')))
    SQL('"a"."b""c" IS NULL')
    """
    return sql.SQL(expression.as_string(None))  # composed by us, quoted by psycopg


def filled(template: LiteralString, *parts: Sql) -> Sql:
    r"""Fill the places of a template, settled: for what is said again of every column.

    >>> filled("{} IS DISTINCT FROM {}", column_sql("b", "age"), sql.Literal("it's")).as_string(None)
    '"b"."age" IS DISTINCT FROM \'it\'\'s\''
    """
    return sql.SQL(template.format(*(part.as_string(None) for part in parts)))  # likewise


def text_of(alias: str, column: Column) -> Sql:
    """Render a column as text by its type's output function."""
    return text_sql(column_sql(alias, column.name), column)


def text_sql(value: Sql, column: Column) -> Sql:
    """Render a value of a column's type as text."""
    if column.out:
        return filled("pg_catalog.textin({}({}))", _function(column.out), value)
    return filled("{}::pg_catalog.text", value)


def value_of(text: Sql, column: Column) -> Sql:
    """Read a column's value from text by its type's input function; the inverse of :func:`text_of`."""
    if column.into.startswith("::"):  # an input function of several arguments: reached by way of another string type
        return filled("({}){}::{}", text, _trusted(column.into), _trusted(column.cast))
    if column.into:
        return filled("{}(pg_catalog.textout({}))", _function(column.into), text)
    return filled("({})::{}", text, _trusted(column.cast))


def text_array(elements: Sequence[Sql]) -> Sql:
    """Build a ``text[]``, also from no element at all."""
    return sql.SQL("ARRAY[{}]::pg_catalog.text[]").format(sql.SQL(", ").join(elements))


def null_array(width: int) -> Sql:
    """Build a ``text[]`` of nulls: the leaves of a reference that is null."""
    return text_array([sql.NULL] * width)


def local_id(alias: str, columns: Sequence[str]) -> Sql:
    """Name a row by its own primary key, as text: what ``dbsync.row_key`` and stitching know it by."""
    values = [sql.SQL("{}::pg_catalog.text").format(column_sql(alias, column)) for column in columns]
    return values[0] if len(values) == 1 else sql.SQL("{}::pg_catalog.text").format(text_array(values))


def row_key_of(table: TableName, identity: Sql) -> Sql:
    """Look up the UUID that stands for a row of a ``row_id`` table, as text, by its local id as text.

    In REPEATABLE READ a transaction may see two for one id: that of a row which another one has deleted since, and of the
    row that it made itself under that id. The deleted one is told by its xmax.
    """
    return sql.SQL(
        "(SELECT k.row_key::pg_catalog.text FROM dbsync.row_key k WHERE k.relation = {} AND k.local_id = {}"
        " ORDER BY k.xmax::pg_catalog.text::pg_catalog.int8 LIMIT 1)"
    ).format(sql.Literal(qualified(table)), identity)


def qualified(table: TableName) -> str:
    """Name a table for ``dbsync.row_key`` and the wire: schema and name, joined by a dot, unquoted."""
    return f"{table.schema}.{table.name}"


@dataclass(frozen=True, slots=True)
class Flat:
    """The leaves of a key as text expressions, and the joins they need."""

    leaves: tuple[Sql, ...]
    joins: tuple[Sql, ...]
    held: tuple[str, ...] = ()
    """The joined aliases that can be locked: those not behind a nullable reference."""
    complete: tuple[Sql, ...] = ()
    """Hold that what a nullable reference refers to is there, where a constraint says that it must be in the end."""


def flatten(
    tree: KeyTree, alias: str, catalog: Catalog, aliases: Iterator[int] | None = None, *, optional: bool = False
) -> Flat:
    """Express the leaves of the row ``alias`` of the tree's table, following references by joins.

    A reference that may not be null is joined so that a missing target removes the row (the key cannot be said);
    behind a nullable one (``optional``) everything is joined so that the leaves become null.
    """
    numbers = aliases if aliases is not None else count(1)
    if tree.row_id:
        return Flat((row_key_of(tree.table, local_id(alias, tree.row_id)),), ())
    table = catalog.tables[tree.table]
    leaves: list[Sql] = []
    joins: list[Sql] = []
    held: list[str] = []
    complete: list[Sql] = []
    for part in tree.parts:
        if isinstance(part, KeyColumn):
            column = table.column(part.column)
            assert column is not None, part
            leaves.append(text_of(alias, column))
            continue
        if part.target.row_id:
            leaves.append(row_key_of(part.target.table, local_id(alias, part.columns)))
            continue
        target = f"k{next(numbers)}"
        nullable = optional or any(c.nullable for c in table.columns if c.name in part.columns)
        joins.append(
            sql.SQL("{} {} {} ON {}").format(
                sql.SQL("LEFT JOIN" if nullable else "JOIN"),
                table_sql(part.target.table),
                sql.Identifier(target),
                points_to(part, target, alias, catalog),
            )
        )
        below = flatten(part.target, target, catalog, numbers, optional=nullable)
        leaves.extend(below.leaves)
        joins.extend(below.joins)
        held.extend([] if nullable else [target, *below.held])
        if (nullable or can_be_empty(part.target, catalog)) and not part.soft:
            complete.append(_is_met(part, alias, _there(part, target, below.leaves, catalog)))
        complete.extend(below.complete)
    return Flat(tuple(leaves), tuple(joins), tuple(held), tuple(complete))


def _is_met(reference: KeyReference, alias: str, found: Sql) -> Sql:
    """Say that a row refers to nothing, or to a row that was found."""
    null = [sql.SQL("{} IS NULL").format(column_sql(alias, column)) for column in reference.columns]
    return sql.SQL("({})").format(sql.SQL(" OR ").join([*null, found]))


def _there(reference: KeyReference, target: str, leaves: Sequence[Sql], catalog: Catalog) -> Sql:
    """Say that the row referred to was found, and that it has a key that is not that of no row."""
    if can_be_empty(reference.target, catalog):
        return sql.SQL("coalesce({}) IS NOT NULL").format(sql.SQL(", ").join(leaves))
    return sql.SQL("{} IS NOT NULL").format(column_sql(target, reference.target_columns[0]))


def can_be_empty(tree: KeyTree, catalog: Catalog) -> bool:
    """Say whether all of a key may be NULL (NULLS NOT DISTINCT): one row may have that key, and no reference can name it."""
    nullable = {column.name for column in catalog.tables[tree.table].columns if column.nullable}
    return bool(tree.parts) and all(
        part.column in nullable
        if isinstance(part, KeyColumn)
        else not nullable.isdisjoint(part.columns) or can_be_empty(part.target, catalog)
        for part in tree.parts
    )


def reference_key(reference: KeyReference, alias: str, catalog: Catalog) -> Sql:
    """Say the natural key of the row that ``alias`` refers to: a correlated scalar subquery giving ``text[]``.

    It is null when the reference is null or its target is not there. A scalar subquery is looked up row by row through
    the target's index whatever the plan was made for; a join here once became a hash join over the whole parent table
    for each single-row insert.

    The rows that the key runs through are locked as a foreign key's check locks them (FOR KEY SHARE). Without that, a key
    being renamed by a transaction that commits first would be logged as it was before: a deferred check comes too late.
    """
    if reference.target.row_id:
        key = row_key_of(reference.target.table, local_id(alias, reference.columns))
        return sql.SQL("(SELECT ARRAY[q.k] FROM (SELECT {} AS k) q WHERE q.k IS NOT NULL)").format(key)
    return key_behind(reference, [column_sql(alias, column) for column in reference.columns], catalog)


def key_behind(reference: KeyReference, values: Sequence[Sql], catalog: Catalog) -> Sql:
    """Say the natural key of the row that some values in a reference's columns mean, as :func:`reference_key` does.

    There is none while a row that it runs through is not found, also behind a nullable reference: with NULL in that row's
    place it would be the key of another row. Nor where all of it is NULL: that is how a reference to no row is told.
    """
    target = reference.target
    flat = flatten(target, "t", catalog)
    key = text_array(flat.leaves)
    if can_be_empty(target, catalog):
        key = sql.SQL("nullif({}, {})").format(key, null_array(target.width))
    return sql.SQL("(SELECT {} FROM {} t {} WHERE {} FOR KEY SHARE OF {})").format(
        key,
        table_sql(target.table),
        sql.SQL(" ").join(flat.joins),
        sql.SQL(" AND ").join([points_at(reference, "t", values, catalog), *flat.complete]),
        sql.SQL(", ").join(sql.Identifier(name) for name in ("t", *flat.held)),
    )


def points_to(reference: KeyReference, target: str, alias: str, catalog: Catalog) -> Sql:
    """Say that the row ``alias`` refers to the row ``target``, in the target column's own equality."""
    return points_at(reference, target, [column_sql(alias, column) for column in reference.columns], catalog)


def points_at(reference: KeyReference, target: str, values: Sequence[Sql], catalog: Catalog) -> Sql:
    """Say that some values in a reference's columns mean the row ``target``."""
    table = catalog.tables[reference.target.table]
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(column_sql(target, there), equality(table, there), value)
        for there, value in zip(reference.target_columns, values, strict=True)
    )


def equality(table: Table, column: str) -> Sql:
    """Give the equality operator of a column's type, qualified."""
    found = table.column(column)
    assert found is not None, (table.name, column)
    return _trusted(found.equals)


def compares(columns: Sequence[Column], alias: str, sign: LiteralString, values: Sequence[Sql]) -> Sql:
    """Say that a row comes before or behind some values in the order of the columns' types, as an index has it.

    With a pinned search_path a plain ``>`` would compare citext as text, in another order than ORDER BY. Where the types
    of several columns have their operators in different schemas, one operator cannot compare them as a row: then the
    first column narrows the index, and the others are compared where it is equal.
    """
    operators = [_trusted(column.equals.replace(".=)", f".{sign})")) for column in columns]
    left = [column_sql(alias, column.name) for column in columns]
    if len({column.equals for column in columns}) == 1:
        row, other = (sql.SQL(", ").join(side) for side in (left, values))
        return sql.SQL("ROW({}) {} ROW({})").format(row, operators[0], other)
    said = sql.SQL("{} {} {}").format(left[-1], operators[-1], values[-1])
    for place in range(len(columns) - 2, -1, -1):
        column, value, equals = left[place], values[place], columns[place].equals
        narrower = _trusted(equals.replace(".=)", f".{sign[0]})"))
        wide = _trusted(equals.replace(".=)", f".{sign[0]}=)"))
        said = sql.SQL("{0} {1} {2} AND ({0} {3} {2} OR {4})").format(column, wide, value, narrower, said)
    return said


def _function(name: str) -> Sql:
    """Turn a function name that PostgreSQL quoted (``regproc::text``) into SQL."""
    return _trusted(name)


@cache
def _trusted(fragment: str) -> Sql:
    """Take a name that PostgreSQL itself quoted (format_type, regproc) as it is."""
    return sql.SQL(fragment)  # made and quoted by the server


def named(expression: Sql, name: str) -> Sql:
    """Name a column of a query."""
    return filled("{}{}", expression, _as(name))


@cache
def _as(name: str) -> Sql:
    return settled(sql.SQL(" AS {}").format(sql.Identifier(name)))
