"""What is done with a change that does not fit, table by table; and the names of the ways in which it may not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from dbsync.model.names import TableName


class OnConflict(StrEnum):
    """Who wins when upstream's row is not what the change expects."""

    SOURCE = "source"
    UPSTREAM = "upstream"
    NEWEST = "newest"
    QUARANTINE = "quarantine"


class OnDelete(StrEnum):
    """What a delete in the source does upstream."""

    APPLY = "apply"
    IGNORE = "ignore"
    QUARANTINE = "quarantine"


class OnError(StrEnum):
    """What goes aside when a change cannot be applied: it alone, its whole transaction, or nothing: the link stops."""

    ROW = "row"
    TRANSACTION = "transaction"
    STOP = "stop"


class OnSkew(StrEnum):
    """What is done with the changes of a table whose columns the upstream does not all have."""

    PARK = "park"
    FOLLOW = "follow"
    """What the upstream had and has dropped is left out; what it does not have yet parks."""
    IGNORE = "ignore"


class Conflict(StrEnum):
    """Why a change could not be applied as it is; the first six are PostgreSQL 18's names for conflicts."""

    INSERT_EXISTS = "insert_exists"
    UPDATE_ORIGIN_DIFFERS = "update_origin_differs"
    UPDATE_MISSING = "update_missing"
    DELETE_ORIGIN_DIFFERS = "delete_origin_differs"
    DELETE_MISSING = "delete_missing"
    MULTIPLE_UNIQUE_CONFLICTS = "multiple_unique_conflicts"
    """The row would take the natural key of one row and another unique value of a second."""
    REFERENCE_MISSING = "reference_missing"
    STILL_REFERENCED = "still_referenced"
    """A row upstream refers to the one that was deleted in the source."""
    NOT_NULL = "not_null_violation"
    CHECK = "check_violation"
    EXCLUSION = "exclusion_violation"
    INVALID_VALUE = "invalid_value"
    """The upstream's column does not take the value: another type, too long, out of range."""
    MISSING_COLUMN = "missing_column"
    """One side has a column or table that the other lacks."""
    UNKEYABLE = "unkeyable"
    DELETE_HELD = "delete_held"
    """``on_delete = "quarantine"``."""
    REFUSED = "refused"
    """PostgreSQL, or a trigger of the upstream's application, refused it for another reason."""
    WAITS = "waits"
    """It depends on a change that waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of one table."""

    on_conflict: OnConflict = OnConflict.SOURCE
    on_delete: OnDelete = OnDelete.APPLY
    on_error: OnError = OnError.ROW
    on_skew: OnSkew = OnSkew.PARK
    newest_by: str | None = None
    """The column that says when a row was last changed; needed by ``on_conflict = "newest"``."""


def _no_rule(_table: TableName) -> Policy | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The rules of all tables, and how far a clock may be off before its times are not believed."""

    find: Callable[[TableName], Policy | None] = _no_rule
    otherwise: Policy = Policy()
    clock_limit: float = 60.0
    """Seconds."""

    def of(self, table: TableName) -> Policy:
        """Give the rules of a table."""
        return self.find(table) or self.otherwise

    def called(self, name: Callable[[TableName, str], str]) -> Policies:
        """Give the same rules with all columns called as ``name`` says."""

        def find(table: TableName) -> Policy:
            rule = self.of(table)
            return rule if rule.newest_by is None else replace(rule, newest_by=name(table, rule.newest_by))

        return replace(self, find=find)

    def won_by_source(self) -> Policies:
        """Give the same rules, but that the source wins every conflict."""

        def won(table: TableName) -> Policy:
            return replace(self.of(table), on_conflict=OnConflict.SOURCE, on_delete=OnDelete.APPLY)

        return replace(self, find=won)
