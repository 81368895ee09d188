"""Guesses from names and types: which key is the better one, what an ``_id`` without a constraint may mean. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dbsync.keys.problems import is_integer, looks_like_id
from dbsync.model.catalog import Catalog, Column, Table
from dbsync.model.names import TableName

CONTENT_TYPES = "django_content_type"

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


def generic_pairs(table: Table, references: Mapping[str, TableName]) -> tuple[tuple[str, str], ...]:
    """Find Django's generic references: a column that refers to the content types, and an id column beside it."""
    types = [key.columns[0] for key in table.foreign_keys if len(key.columns) == 1 and _is_content_type(key.target)]
    types += [column for column, target in references.items() if _is_content_type(target)]
    pairs = ((type_column, _object_id(table, type_column)) for type_column in types)
    return tuple((type_column, id_column) for type_column, id_column in pairs if id_column)


def _is_content_type(name: TableName) -> bool:
    return name.name == CONTENT_TYPES


def _object_id(table: Table, type_column: str) -> str:
    for suffix, others in (
        ("content_type_id", ("object_id", "object_pk", "object_uuid", "id")),
        ("ctype_id", ("object_id", "id")),
        ("ct_id", ("object_id", "id")),
        ("type_id", ("object_id", "id")),
    ):
        if not type_column.endswith(suffix):
            continue
        stem = type_column.removesuffix(suffix)
        for other in others:
            found = table.column(stem + other)
            if found is not None and not found.auto and found.name not in table.primary_key:
                return "" if _refers(table, found.name) else found.name
    return ""


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
