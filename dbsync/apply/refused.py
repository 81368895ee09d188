"""What PostgreSQL refuses to write: whether a row is to blame, which conflict it is, and in words."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import errors

from dbsync.model.batch import Count
from dbsync.model.policy import Conflict
from dbsync.postgres import (
    is_raised_by_hand,
    is_refused_as_too_much,
    is_refused_by_policy,
    is_server_trouble,
    primary,
)

_KINDS: tuple[tuple[type[psycopg.Error], Conflict], ...] = (
    (errors.UniqueViolation, Conflict.MULTIPLE_UNIQUE_CONFLICTS),
    (errors.NotNullViolation, Conflict.NOT_NULL),
    (errors.CheckViolation, Conflict.CHECK),
    (errors.ExclusionViolation, Conflict.EXCLUSION),
    (errors.ForeignKeyViolation, Conflict.REFERENCE_MISSING),
    (errors.RestrictViolation, Conflict.STILL_REFERENCED),
    (psycopg.DataError, Conflict.INVALID_VALUE),
)


TRIES = 3
"""Times that a change, or a transaction that stays whole, is written when others may have been in the way, before it goes aside."""


class Unapplicable(Exception):
    """A span that PostgreSQL refused as a whole, and what is known of why."""

    def __init__(self, reason: str, conflict: Conflict = Conflict.REFUSED, *, retry: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.conflict = conflict
        self.counts: Sequence[Count] = ()
        """What was in the span."""
        self.retry = retry
        """Another session may have had a hand in it: the same again may go."""

    @property
    def raced(self) -> bool:
        """Say that others change the same rows, which must be locked first; one that they inserted is seen by looking again."""
        return self.retry and self.conflict is not Conflict.MULTIPLE_UNIQUE_CONFLICTS


def is_no_rows_fault(error: psycopg.Error) -> bool:
    """Say whether the server, the line or a right is missing, and no row is to blame.

    Deadlocks and serialization failures are among these; what a trigger of the application raises is not, whatever
    SQLSTATE it borrows, nor is a row that row-level security refuses, or one that is more than an index takes.
    """
    blameless = is_server_trouble(error) or isinstance(error, errors.InsufficientPrivilege)
    of_a_row = (is_raised_by_hand, is_refused_by_policy, is_refused_as_too_much)
    return blameless and not any(says(error.diag) for says in of_a_row)


def unapplicable(error: psycopg.Error) -> Unapplicable:
    """Take an error for the refusal that it is."""
    conflict = next((conflict for kind, conflict in _KINDS if isinstance(error, kind)), Conflict.REFUSED)
    return Unapplicable(describe(error), conflict, retry=isinstance(error, errors.UniqueViolation))


def describe(error: psycopg.Error) -> str:
    """Say in words why PostgreSQL refused a row: the constraint, the table and the column, never a value."""
    diag = error.diag
    if is_raised_by_hand(diag):  # RAISE ... USING may fill these with anything
        return primary(error)
    names = [
        f"{kind} {name}"
        for kind, name in (
            ("constraint", diag.constraint_name),
            ("column", diag.column_name),
            ("table", diag.table_name),
        )
        if name and name not in (diag.message_primary or "")
    ]
    return ", ".join([primary(error), *names])
