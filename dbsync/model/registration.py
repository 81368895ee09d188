"""A registered table: its natural key and its references, decided once from configuration and catalog.

A natural key may run through foreign keys. Flattened, it is a list of *leaves*: plain column values, in the order of
the key's columns, each reference replaced by the leaves of the key it points to::

    crf      key (visit_id)               leaves: subject_identifier, visit_code
    visit    key (subject_id, visit_code) leaves: subject_identifier, visit_code
    subject  key (subject_identifier)     leaves: subject_identifier

A ``row_id`` key has one leaf: the row's UUID from ``dbsync.row_key``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from dbsync.model.catalog import Table
from dbsync.model.names import TableName


class Mode(StrEnum):
    """What dbsync does with a table."""

    SHIP = "ship"
    LOOKUP = "lookup"
    """Exists on both sides and is not shipped; it only resolves references."""


class Truncate(StrEnum):
    """What TRUNCATE on a captured table does."""

    REJECT = "reject"
    CAPTURE = "capture"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTree:
    """The natural key of one table, with everything needed to compute it or look it up by SQL.

    ``parts`` are in key order. ``row_id`` means that the key is the row's UUID and ``parts`` is empty.
    """

    table: TableName
    parts: tuple[KeyColumn | KeyReference, ...] = ()
    row_id: tuple[str, ...] = ()
    """For a ``row_id`` key: the primary key columns that name the row locally."""

    def leaves(self) -> tuple[str, ...]:
        """Name the leaves in words, for messages: ``('subject_id.subject_identifier', 'visit_code')``."""
        if self.row_id:
            return ("row_id",)
        names: list[str] = []
        for part in self.parts:
            if isinstance(part, KeyColumn):
                names.append(part.column)
            else:
                prefix = ",".join(part.columns)
                names.extend(f"{prefix}.{leaf}" for leaf in part.target.leaves())
        return tuple(names)

    def through(self) -> Iterator[TableName]:
        """Give the tables of whose rows the key has leaves, besides its own: the key changes with their keys."""
        for part in self.parts:
            if isinstance(part, KeyReference):
                yield part.target.table
                yield from part.target.through()

    @property
    def width(self) -> int:
        """Count the leaves."""
        return len(self.leaves())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyColumn:
    """A part of a key that is a plain value."""

    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReference:
    """Columns whose value is another row's id: shipped as that row's natural key.

    ``columns`` equal ``target_columns`` of the row they point to (usually its primary key).
    """

    columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    target: KeyTree
    soft: bool = False
    """No constraint holds it (configured by ``references``): its target may rightly be gone."""

    @property
    def width(self) -> int:
        """Count its elements in ``refs``: the target's leaves, and behind a soft one's the UUID of a gone row."""
        return self.target.width + (1 if self.soft else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericReference:
    """Django's content type + object id: the row pointed to is in a table that the type names, row by row.

    ``targets`` maps ``app_label.model`` to the key of that model's table. ``id_column`` may be text.
    ``type_column`` is itself an ordinary reference to the content type table.
    """

    type_column: str
    id_column: str
    targets: Mapping[str, KeyTree]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredTable:
    """A table that dbsync ships or looks up."""

    table: Table
    mode: Mode
    key: KeyTree
    references: tuple[KeyReference, ...] = ()
    """All of them, also those in the key, in column order. A foreign key onto natural values is none."""
    generics: tuple[GenericReference, ...] = ()
    values: tuple[str, ...] = ()
    """The columns that travel as values: neither references, nor generated, nor excluded, nor local ids."""
    insert_only: tuple[str, ...] = ()
    """Of ``values``, those written for a row that is new upstream and left alone on one that exists (a UUID id)."""
    excluded: tuple[str, ...] = ()
    truncate: Truncate = Truncate.REJECT
    on_conflict: str = "source"
    on_delete: str = "apply"

    @property
    def name(self) -> TableName:
        """Give the table's name."""
        return self.table.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All registered tables of one source."""

    tables: Mapping[TableName, RegisteredTable] = field(default_factory=lambda: MappingProxyType({}))

    def shipped(self) -> tuple[RegisteredTable, ...]:
        """Give the tables whose changes are captured, in name order."""
        return tuple(t for _, t in sorted(self.tables.items()) if t.mode is Mode.SHIP)
