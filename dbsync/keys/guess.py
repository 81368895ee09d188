"""Guesses from names and types: which key is the better one, what an ``_id`` without a constraint may mean. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dbsync.keys.problems import is_integer, looks_like_id
from dbsync.model.catalog import Catalog, Column, Table
from dbsync.model.names import TableName

_POSITIONS = frozenset(
    {
        *("order", "ordering", "order_number", "sort", "sorting", "sort_order", "display_order", "display_index"),
        *("idx", "index", "line", "line_no", "line_number", "pos", "position", "rank", "seq", "sequence"),
        *("depth", "level", "lft", "rght", "rgt", "numchild", "path", "tree_id"),
    }
)


def positions(table: Table, columns: Sequence[str]) -> tuple[str, ...]:
    """Pick the columns that say where a row stands in a list or a tree: they move, and are taken anew on every node."""
    return tuple(name for name in columns if name.strip("_").lower() in _POSITIONS and not _refers(table, name))


def rank(table: Table, columns: Sequence[str]) -> tuple[bool, bool, int]:
    """Rate a key for choosing the best of several, lower first: real values, not positions, not UUIDs, and few."""
    types = [column.cast for name in columns if (column := table.column(name)) is not None]
    return bool(positions(table, columns)), "uuid" in types, len(columns)


def guesses(catalog: Catalog, table: Table, known: Sequence[str]) -> Iterator[tuple[str, TableName]]:
    """Guess where integer ``_id`` columns point that no constraint speaks of and that are not among ``known``."""
    for column in table.columns:
        if column.name in known or _refers(table, column.name) or not looks_like_id(table, column):
            continue
        target = _as_elsewhere(catalog, column) or _as_named(catalog, table, column)
        if target is not None and target != table.name:
            yield column.name, target


def _as_elsewhere(catalog: Catalog, column: Column) -> TableName | None:
    """Take the one table that columns of the same name refer to in other tables."""
    targets = {
        key.target for other in catalog.tables.values() for key in other.foreign_keys if key.columns == (column.name,)
    }
    return targets.pop() if len(targets) == 1 else None


def _as_named(catalog: Catalog, table: Table, column: Column) -> TableName | None:
    """Take the one table that is called like the column: ``panel_id`` of ``lab_result`` may mean ``lab_panel``."""
    stem = column.name.removesuffix("_id")
    app = table.name.name.partition("_")[0]
    here = catalog.table(TableName(table.name.schema, f"{app}_{stem}"))
    if here is not None:
        return here.name
    found = [name for name, other in catalog.tables.items() if name.name.endswith(f"_{stem}") and _has_number(other)]
    return found[0] if len(found) == 1 else None


def _has_number(table: Table) -> bool:
    key = [table.column(name) for name in table.primary_key]
    return len(key) == 1 and key[0] is not None and is_integer(key[0])


def _refers(table: Table, column: str) -> bool:
    return any(column in key.columns for key in table.foreign_keys)
