"""References that must be set, and may be told a moment later than their row is written. Pure."""

from __future__ import annotations

from dbsync.model.catalog import ForeignKey, Table
from dbsync.model.registration import KeyReference


def may_follow(reference: KeyReference, table: Table, target: Table) -> bool:
    """Say whether another id may stand in for a reference of a table until the row that it means has been written.

    So it is where no constraint asks for that row before the end of the transaction, and an id that no row has can be made.
    """
    return not asking_at_once(reference, table) and can_be_made(reference, target)


def asking_at_once(reference: KeyReference, table: Table) -> list[ForeignKey]:
    """Give the constraints of a table that ask for a reference's row as soon as its own is written."""
    return [key for key in table.foreign_keys if set(key.columns) == set(reference.columns) and not key.deferrable]


def can_be_made(reference: KeyReference, target: Table) -> bool:
    """Say whether an id can be made for a reference that no row of its target has."""
    found = [target.column(name) for name in reference.target_columns]
    return all(column is not None and column.can_be_drawn for column in found)
