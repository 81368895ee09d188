"""Choose the natural key of one table. Pure.

A key must mean the same row on every node. Generated numbers do not, a UUID does only until migrations seed the same
row on two of them or an application creates it again; so a unique constraint over real values comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dbsync.model.catalog import Table, UniqueKey

Columns = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChoice:
    """What identifies the rows of a table, or why nothing was chosen.

    Either ``columns``, or ``row_id``, or ``refused`` says something. ``candidates`` are the unique keys that would do,
    also when one was chosen in the configuration.
    """

    columns: Columns = ()
    row_id: bool = False
    why: str = ""
    candidates: tuple[Columns, ...] = ()
    refused: str = ""


def choose(
    table: Table,
    configured: Sequence[str] | Literal["row_id"] | None = None,
    exclude: Collection[str] = (),
    pointing: Collection[str] = (),
) -> KeyChoice:
    """Choose a table's key: as configured, else its only unique key, else a primary key that is not generated.

    ``pointing`` are the ids of generic references, which no key runs through. What the configuration says is taken as it is;
    whether it can be is for :func:`dbsync.keys.register.register`.
    """
    found = candidates(table, (*exclude, *pointing))
    if configured == "row_id":
        return KeyChoice(row_id=True, why="configured", candidates=found)
    if configured is not None:
        return KeyChoice(columns=tuple(configured), why="configured", candidates=found)
    if extends(table):
        return KeyChoice(columns=table.primary_key, why=f"its row is one with {_parent(table)}'s", candidates=found)
    return _from_catalog(table, found, (*exclude, *pointing), pointing)


def _from_catalog(
    table: Table, found: tuple[Columns, ...], exclude: Collection[str], pointing: Collection[str]
) -> KeyChoice:
    if len(found) == 1:
        return KeyChoice(columns=found[0], why=f"unique ({', '.join(found[0])})", candidates=found)
    if found:
        return KeyChoice(candidates=found, refused="several unique keys would do")
    if table.primary_key and is_usable(table, table.primary_key, exclude):
        return KeyChoice(columns=table.primary_key, why=f"primary key ({', '.join(table.primary_key)})")
    return KeyChoice(refused=_why_none(table, exclude, pointing))


def candidates(table: Table, exclude: Collection[str] = ()) -> tuple[Columns, ...]:
    """List the unique keys beside the primary key that can serve as a natural key.

    A key that only adds columns to another one, or to the primary key, says nothing new and is left out.
    """
    usable = [
        unique.columns
        for unique in table.uniques
        if unique.immediate and is_complete(table, unique) and is_usable(table, unique.columns, exclude)
    ]
    smaller = [*usable, table.primary_key] if table.primary_key else usable
    return tuple(_distinct(columns for columns in usable if not any(set(less) < set(columns) for less in smaller)))


def is_complete(table: Table, unique: UniqueKey) -> bool:
    """Say whether a unique key identifies every row: with a NULL in it, an ordinary one does not."""
    nullable = {column.name for column in table.columns if column.nullable}
    return unique.nulls_not_distinct or nullable.isdisjoint(unique.columns)


def is_usable(table: Table, columns: Sequence[str], exclude: Collection[str] = ()) -> bool:
    """Say whether columns can be a natural key at all: they travel, compare, and do not lead back to the table."""
    found = [table.column(name) for name in columns]
    return not runs_through_itself(table, columns) and all(
        column is not None
        and not column.auto
        and not column.generated
        and bool(column.equals)
        and column.name not in exclude
        for column in found
    )


def runs_through_itself(table: Table, columns: Sequence[str]) -> bool:
    """Say whether a key has a reference to its own table in it: saying it would never come to an end.

    A reference to plain values that are in the key themselves is none.
    """
    return any(
        key.target == table.name
        and not set(key.columns).isdisjoint(columns)
        and not set(key.target_columns) <= set(columns)
        for key in table.foreign_keys
    )


def extends(table: Table) -> bool:
    """Say whether each row is one with a row of another table: the primary key is the reference to it.

    Django's multi-table inheritance makes such tables.
    """
    return bool(table.primary_key) and any(
        key.columns == table.primary_key and key.target != table.name for key in table.foreign_keys
    )


def _parent(table: Table) -> str:
    return next(str(key.target) for key in table.foreign_keys if key.columns == table.primary_key)


def _why_none(table: Table, exclude: Collection[str], pointing: Collection[str]) -> str:
    for unique in table.uniques:
        shown = f"unique ({', '.join(unique.columns)})"
        if not set(unique.columns).isdisjoint(pointing):
            return f"{shown} holds the id of a row of any table, which is another one upstream"
        if not is_complete(table, unique):
            return f"{shown} allows NULL, so it identifies not every row"
        if runs_through_itself(table, unique.columns):
            return f"{shown} refers to its own table, so it would never come to an end"
        if not unique.immediate and is_usable(table, unique.columns, exclude):
            return f"{shown} is deferrable, so two rows may share a value until the transaction ends"
    if table.primary_key:
        return "its only unique values are generated ids, and ids never travel"
    return "it has neither a unique key nor a primary key"


def _distinct(keys: Iterable[Columns]) -> list[Columns]:
    by_set: dict[frozenset[str], Columns] = {}
    for columns in keys:
        by_set.setdefault(frozenset(columns), columns)
    return list(by_set.values())
