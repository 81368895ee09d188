"""Where columns point: foreign keys, and what the configuration says in their place. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dbsync.config.models import TableConfig
from dbsync.model.catalog import Catalog, Table
from dbsync.model.names import TableName


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Columns that hold a value of another row; whether it has to be translated depends on that row's key."""

    columns: tuple[str, ...]
    target: TableName
    target_columns: tuple[str, ...]
    soft: bool = False
    """No constraint holds it: the row it points to may be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The tables that the configuration selects from a catalog, each with its entry."""

    catalog: Catalog
    entries: Mapping[TableName, TableConfig]

    def table(self, name: TableName) -> Table:
        """Give a selected table."""
        return self.catalog.tables[name]


def pointers(selection: Selection, name: TableName) -> tuple[Pointer, ...]:
    """List where a selected table's columns point, in column order, to selected tables only.

    The configuration comes before a foreign key over the same columns. Excluded columns point nowhere.
    """
    table = selection.table(name)
    place = {column.name: number for number, column in enumerate(table.columns)}
    found: dict[tuple[str, ...], Pointer] = {}
    for pointer in (*_configured(selection, name), *_constrained(selection, name)):
        if pointer.target in selection.entries:
            found.setdefault(pointer.columns, pointer)
    return tuple(sorted(found.values(), key=lambda pointer: [place[column] for column in pointer.columns]))


def _configured(selection: Selection, name: TableName) -> Iterator[Pointer]:
    table = selection.table(name)
    held = {key.columns for key in table.foreign_keys if key.enforced}
    for column, target in selection.entries[name].reference_tables.items():
        there = selection.catalog.table(target)
        if there is not None and len(there.primary_key) == 1 and table.column(column) is not None:
            soft = (column,) not in held
            yield Pointer(columns=(column,), target=target, target_columns=there.primary_key, soft=soft)


def _constrained(selection: Selection, name: TableName) -> Iterator[Pointer]:
    excluded = selection.entries[name].exclude
    for key in selection.table(name).foreign_keys:
        if not set(key.columns) & set(excluded):
            yield Pointer(
                columns=key.columns, target=key.target, target_columns=key.target_columns, soft=not key.enforced
            )
