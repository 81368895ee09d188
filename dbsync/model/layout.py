"""What the elements of a change mean: the layout, which travels in the header of every batch that needs it.

``image`` has one element for each of ``columns``. ``refs`` holds, flat and in this order: the row's own UUID if the key
is a ``row_id``; the leaves of each reference, followed for a soft one (no constraint holds it) by the UUID that stands
for its target if that is gone for good; for each generic reference two elements, the table pointed to
(``schema.table``) and the leaves of that row's key as one array literal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dbsync.model.names import TableName
from dbsync.model.registration import GenericReference, KeyColumn, KeyReference, KeyTree, RegisteredTable
from dbsync.model.strict import text

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutGeneric:
    """A generic reference as it travels: which columns it fills upstream, and the keys of what it may point to."""

    type_column: str
    id_column: str
    targets: tuple[KeyTree, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The meaning of one table's changes, complete in itself: an upstream needs no configuration to read it.

    ``key`` is None when the row cannot be keyed (its table drifted beyond what its trigger knew).
    """

    table: TableName
    columns: tuple[tuple[str, str], ...]
    """Name and type of each value column, in the order of ``image``."""
    insert_only: tuple[str, ...] = ()
    references: tuple[KeyReference, ...] = ()
    generics: tuple[LayoutGeneric, ...] = ()
    key: KeyTree | None = None

    @classmethod
    def of(cls, table: RegisteredTable) -> Layout:
        """Give the layout of a registered table as it is now."""
        types = {column.name: column.type for column in table.table.columns}
        return cls(
            table=table.name,
            columns=tuple((name, types[name]) for name in table.values),
            insert_only=table.insert_only,
            references=table.references,
            generics=tuple(_generic(g) for g in table.generics),
            key=table.key,
        )

    @property
    def identity(self) -> int:
        """Give the layout's id: 63 bits of a hash of what it says, the same wherever it is computed."""
        text = json.dumps(self.definition(), sort_keys=True, ensure_ascii=False)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    @property
    def keyed_by_row_id(self) -> bool:
        """Say whether ``refs`` begins with the row's own UUID."""
        return self.key is not None and bool(self.key.row_id)

    @property
    def travelling(self) -> tuple[str, ...]:
        """Name the columns that are written upstream, as values or as references."""
        names = [name for name, _ in self.columns]
        names += [name for reference in self.references for name in reference.columns]
        return tuple(dict.fromkeys([*names, *(generic.id_column for generic in self.generics)]))

    def called(self, name: Callable[[TableName, str], str]) -> Layout:
        """Give the same layout with all columns of all tables called as ``name`` says."""
        return replace(
            self,
            columns=tuple((name(self.table, column), kind) for column, kind in self.columns),
            insert_only=tuple(name(self.table, column) for column in self.insert_only),
            references=tuple(_called_reference(reference, self.table, name) for reference in self.references),
            generics=tuple(
                LayoutGeneric(
                    type_column=name(self.table, generic.type_column),
                    id_column=name(self.table, generic.id_column),
                    targets=tuple(_called_tree(tree, name) for tree in generic.targets),
                )
                for generic in self.generics
            ),
            key=None if self.key is None else _called_tree(self.key, name),
        )

    def position(self, column: str) -> int | None:
        """Give the place of a value column in ``image``, counted from 1 as PostgreSQL does."""
        return next((i for i, (name, _) in enumerate(self.columns, start=1) if name == column), None)

    def reference_positions(self) -> tuple[tuple[KeyReference, int], ...]:
        """Give each reference with the place of its first leaf in ``refs``, counted from 1."""
        placed: list[tuple[KeyReference, int]] = []
        position = 2 if self.keyed_by_row_id else 1
        for reference in self.references:
            placed.append((reference, position))
            position += reference.width
        return tuple(placed)

    def generic_positions(self) -> tuple[tuple[LayoutGeneric, int], ...]:
        """Give each generic reference with the place of its first element in ``refs``, counted from 1."""
        first = (2 if self.keyed_by_row_id else 1) + sum(r.width for r in self.references)
        return tuple((generic, first + 2 * i) for i, generic in enumerate(self.generics))

    def definition(self) -> Json:
        """Give the layout as JSON: what ``dbsync.layout`` keeps and a batch header carries."""
        return {
            "table": [self.table.schema, self.table.name],
            "columns": [list(column) for column in self.columns],
            "insert_only": list(self.insert_only),
            "references": [_reference_json(reference) for reference in self.references],
            "generics": [
                [g.type_column, g.id_column, [tree_definition(tree) for tree in g.targets]] for g in self.generics
            ],
            "key": None if self.key is None else tree_definition(self.key),
        }

    @classmethod
    def read(cls, definition: Mapping[str, Any]) -> Layout:
        """Read what :meth:`definition` gave; raise ValueError for anything else."""
        try:
            known = {"table", "columns", "insert_only", "references", "generics", "key"}
            if set(definition) != known:
                raise ValueError(f"a layout has exactly the members {sorted(known)}")
            key = definition["key"]
            return cls(
                table=_table(definition["table"]),
                columns=tuple((text(n), text(t)) for n, t in definition["columns"]),
                insert_only=_texts(definition["insert_only"]),
                references=tuple(_read_reference(r) for r in definition["references"]),
                generics=tuple(
                    LayoutGeneric(
                        type_column=text(t), id_column=text(i), targets=tuple(_read_tree(tree) for tree in trees)
                    )
                    for t, i, trees in definition["generics"]
                ),
                key=None if key is None else _read_tree(key),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a layout: {error}") from error


def tree_definition(tree: KeyTree) -> Json:
    """Give a natural key as a layout tells it."""
    return {
        "table": [tree.table.schema, tree.table.name],
        "row_id": list(tree.row_id),
        "parts": [p.column if isinstance(p, KeyColumn) else _reference_json(p) for p in tree.parts],
    }


def _called_tree(tree: KeyTree, name: Callable[[TableName, str], str]) -> KeyTree:
    return replace(
        tree,
        row_id=tuple(name(tree.table, column) for column in tree.row_id),
        parts=tuple(
            KeyColumn(column=name(tree.table, part.column))
            if isinstance(part, KeyColumn)
            else _called_reference(part, tree.table, name)
            for part in tree.parts
        ),
    )


def _called_reference(reference: KeyReference, table: TableName, name: Callable[[TableName, str], str]) -> KeyReference:
    return replace(
        reference,
        columns=tuple(name(table, column) for column in reference.columns),
        target_columns=tuple(name(reference.target.table, column) for column in reference.target_columns),
        target=_called_tree(reference.target, name),
    )


def _generic(generic: GenericReference) -> LayoutGeneric:
    return LayoutGeneric(
        type_column=generic.type_column,
        id_column=generic.id_column,
        targets=tuple(tree for _, tree in sorted(generic.targets.items())),
    )


def _reference_json(reference: KeyReference) -> Json:
    return {
        "columns": list(reference.columns),
        "target_columns": list(reference.target_columns),
        "soft": reference.soft,
        "target": tree_definition(reference.target),
    }


def _read_reference(value: Mapping[str, Any]) -> KeyReference:
    found = KeyReference(
        columns=_texts(value["columns"]),
        target_columns=_texts(value["target_columns"]),
        soft=bool(value["soft"]),
        target=_read_tree(value["target"]),
    )
    if not found.columns or len(found.columns) != len(found.target_columns):
        raise ValueError("a reference points with other columns than it is found by")
    return found


def _read_tree(value: Mapping[str, Any]) -> KeyTree:
    found = KeyTree(
        table=_table(value["table"]),
        row_id=_texts(value["row_id"]),
        parts=tuple(KeyColumn(column=p) if isinstance(p, str) else _read_reference(p) for p in value["parts"]),
    )
    if bool(found.parts) == bool(found.row_id):
        raise ValueError("a key is made of values and references, or is a row's own")
    return found


def _table(value: Sequence[Any]) -> TableName:
    schema, name = value
    return TableName(text(schema), text(name))


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(text(value) for value in values)
