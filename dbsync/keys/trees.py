"""Resolve natural keys through references, across tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dbsync.keys.choose import KeyChoice
from dbsync.keys.pointers import Pointer, Selection
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyReference, KeyTree


@dataclass(slots=True, kw_only=True)
class Trees:
    """The key trees of all selected tables, grown on demand.

    A key that cannot be resolved gives None. ``cycles`` holds each chain of tables whose keys lead back to where they
    began, ``split`` the key columns that hold only a part of a local id.
    """

    selection: Selection
    choices: Mapping[TableName, KeyChoice]
    pointers: Mapping[TableName, tuple[Pointer, ...]]
    cycles: list[tuple[TableName, ...]] = field(default_factory=list)
    split: list[tuple[TableName, str]] = field(default_factory=list)
    _grown: dict[TableName, KeyTree | None] = field(default_factory=dict)
    _path: list[TableName] = field(default_factory=list)

    def tree(self, name: TableName) -> KeyTree | None:
        """Give the key of a table, resolved down to plain values; None when it cannot be."""
        if name in self._grown:
            return self._grown[name]
        if name in self._path:
            self.cycles.append(tuple(self._path[self._path.index(name) :]))
            return None
        self._path.append(name)
        grown = self._grow(name)
        self._path.pop()
        self._grown[name] = grown
        return grown

    def reference(self, pointer: Pointer) -> KeyReference | None:
        """Give the reference that a pointer is; None when its columns hold natural values, or its target has no key."""
        target = self.tree(pointer.target)
        if target is None or is_plain(pointer, target):
            return None
        return KeyReference(
            columns=pointer.columns, target_columns=pointer.target_columns, target=target, soft=pointer.soft
        )

    def _grow(self, name: TableName) -> KeyTree | None:
        choice, table = self.choices[name], self.selection.table(name)
        if choice.row_id:
            return KeyTree(table=name, row_id=table.primary_key) if table.primary_key else None
        if not choice.columns or any(table.column(column) is None for column in choice.columns):
            return None
        parts: list[KeyColumn | KeyReference] = []
        done: set[str] = set()
        for column in choice.columns:
            if column in done:
                continue
            part = self._part(name, column, choice.columns)
            if part is None:
                return None
            done.update(part.columns if isinstance(part, KeyReference) else (column,))
            parts.append(part)
        return KeyTree(table=name, parts=tuple(parts))

    def _part(self, name: TableName, column: str, key: Sequence[str]) -> KeyColumn | KeyReference | None:
        pointer = self._pointer_within(name, column, key)
        if pointer is None:
            return None if self._is_split(name, column) else KeyColumn(column=column)
        if pointer.target == name and self._is_plain_self(pointer, key):
            return KeyColumn(column=column)
        target = self.tree(pointer.target)
        if target is None:
            return None
        if is_plain(pointer, target):
            return KeyColumn(column=column)
        return KeyReference(
            columns=pointer.columns, target_columns=pointer.target_columns, target=target, soft=pointer.soft
        )

    def _pointer_within(self, name: TableName, column: str, key: Sequence[str]) -> Pointer | None:
        """Find the narrowest pointer from this column that the key has whole."""
        within = [p for p in self.pointers[name] if column in p.columns and set(p.columns) <= set(key)]
        return min(within, key=lambda pointer: len(pointer.columns), default=None)

    def _is_split(self, name: TableName, column: str) -> bool:
        """Say whether a key column is one of several that point together, and means nothing without the others."""
        for pointer in self.pointers[name]:
            if column not in pointer.columns or pointer.target == name:
                continue
            there = pointer.target_columns[pointer.columns.index(column)]
            if any(there in other.columns for other in self.pointers[pointer.target]) or self._is_auto(pointer, there):
                self.split.append((name, column))
                return True
        return False

    def _is_auto(self, pointer: Pointer, column: str) -> bool:
        found = self.selection.table(pointer.target).column(column)
        return found is not None and found.auto

    def _is_plain_self(self, pointer: Pointer, key: Sequence[str]) -> bool:
        pointing = {column for other in self.pointers[pointer.target] for column in other.columns}
        return set(pointer.target_columns) <= set(key) and pointing.isdisjoint(pointer.target_columns)


def is_plain(pointer: Pointer, target: KeyTree) -> bool:
    """Say whether the pointer holds plain values of its target's natural key: the same everywhere, not translated."""
    plain = {part.column for part in target.parts if isinstance(part, KeyColumn)}
    return set(pointer.target_columns) <= plain
