"""What ``dbsync init`` proposes to write, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dbsync.model.names import TableName
from dbsync.model.registration import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedTable:
    """One entry of ``[[tables]]``, with its reasons."""

    name: TableName
    mode: Mode = Mode.SHIP
    why: str = ""
    """The key found and the reason, in a few words."""
    key: tuple[str, ...] | Literal["row_id"] | None = None
    """None where the catalog alone leads to the same key, so that it need not be written."""
    candidates: tuple[tuple[str, ...], ...] = ()
    """Other keys that would do."""
    exclude: tuple[str, ...] = ()
    references: Mapping[str, TableName] = field(default_factory=dict)
    guesses: Mapping[str, TableName] = field(default_factory=dict)
    """References that only a name speaks for: written as a comment."""
    generic: tuple[tuple[str, str], ...] = ()
    """Pairs of type column and id column."""
    notes: tuple[str, ...] = ()
    """What the reader should know, a sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """The natural key that an application's own code knows a table's rows by."""

    columns: tuple[str, ...]
    where: str
    """Where it stands: ``natural_key() of clinic.Subject``."""
    problem: str = ""
    """Why its columns cannot be told; then there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Omission:
    """A table that is left out, and why."""

    name: TableName
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A whole dbsync.toml to be, in name order."""

    database: str
    tables: tuple[ProposedTable, ...]
    left_out: tuple[Omission, ...] = ()
