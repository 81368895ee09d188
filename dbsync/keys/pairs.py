"""Django's generic references, told by their names: a column that refers to the content types, and an id beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dbsync.model.catalog import Catalog, Table
from dbsync.model.names import TableName

CONTENT_TYPES = "django_content_type"
_ENDINGS = ("content_type_id", "ctype_id", "ct_id", "type_id")
_IDS = ("object_id", "object_pk", "object_uuid")
"""An audit trail may have two of them: the id as a number, and as text."""


def generic_pairs(table: Table, references: Mapping[str, TableName]) -> tuple[tuple[str, str], ...]:
    """Find pairs of a column that says which model and one that says which row.

    ``references`` are those that the configuration names, beside the foreign keys.
    """
    types = [key.columns[0] for key in table.foreign_keys if len(key.columns) == 1 and _is_content_type(key.target)]
    types += [column for column, target in references.items() if _is_content_type(target)]
    return tuple((type_column, id_column) for type_column in types for id_column in _ids(table, type_column))


def types(table: Table, catalog: Catalog) -> dict[str, TableName]:
    """Find columns that say which model by their name alone: a Django project has one table of content types."""
    found = [name for name in catalog.tables if _is_content_type(name)]
    constrained = {column for key in table.foreign_keys for column in key.columns}
    named = [c.name for c in table.columns if c.name.endswith(_ENDINGS[0]) and c.name not in constrained]
    return dict.fromkeys(named, found[0]) if len(found) == 1 and found[0] != table.name else {}


def ids(table: Table) -> frozenset[str]:
    """Name the ids among them, as far as constraints say so: they are another row's, of any table."""
    return frozenset(id_column for _, id_column in generic_pairs(table, {}))


def _is_content_type(name: TableName) -> bool:
    return name.name == CONTENT_TYPES


def _ids(table: Table, type_column: str) -> Iterator[str]:
    ending = next((ending for ending in _ENDINGS if type_column.endswith(ending)), None)
    if ending is None:
        return
    stem = type_column.removesuffix(ending)
    found = [name for name in (stem + one for one in _IDS) if _may_be_id(table, name)]
    yield from found or (name for name in (f"{stem}id",) if _may_be_id(table, name))


def _may_be_id(table: Table, name: str) -> bool:
    column = table.column(name)
    refers = any(name in key.columns for key in table.foreign_keys)
    return column is not None and not column.auto and name not in table.primary_key and not refers
