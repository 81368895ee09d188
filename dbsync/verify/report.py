"""What a comparison found, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dbsync.model.names import TableName

Key = tuple[str | None, ...]
"""The leaves of a natural key as text, as the upstream compares them: citext in lower case, numeric without zeros."""

Place = tuple[str, ...]
"""A row's primary key as text; it means something in its own database only."""

GONE = "gone"
"""Stands for the key of a row that is not there any more, where a reference that nothing holds points to it."""


class Kind(StrEnum):
    """In what way a row differs."""

    MISSING = "missing"
    """The source has it, upstream has not."""
    EXTRA = "extra"
    """Upstream has it, the source has not: a delete that did not arrive, or a row of another node."""
    DIFFERENT = "different"
    """Both have it, with other contents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDifference:
    """A column, or a reference, whose two values differ. The values stay None unless somebody asked to see them."""

    column: str
    source: str | None = None
    upstream: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One row that is not the same on both sides."""

    table: TableName
    kind: Kind
    key: Key
    """Empty for an EXTRA row that the upstream does not name."""
    captured: bool = True
    """False for a row of the source that has no key yet: it, or a row its key runs through, was never captured.
    ``key`` is then the row's primary key in the source."""
    columns: tuple[ColumnDifference, ...] = ()
    """Of a DIFFERENT row; named only for the rows that a report lists."""
    places: tuple[Place, ...] = ()
    """Where the source's rows with this key are, for a repair; empty unless there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReport:
    """What came out for one table; all counts are rows."""

    table: TableName
    source_rows: int = 0
    upstream_rows: int = 0
    missing: int = 0
    """Those not captured yet included."""
    extra: int = 0
    different: int = 0
    unnamed: int = 0
    """Of the extra rows, those that the upstream does not name."""
    not_captured: int = 0
    other_origin: int = 0
    """Upstream rows without a key of dbsync's: no node ever shipped them, so they were not compared."""
    missing_columns: tuple[str, ...] = ()
    """Columns and references that only one side has, so that nobody could compare them."""
    notes: tuple[str, ...] = ()
    """What is worth knowing about the comparison and is no difference."""
    problem: str = ""
    """Why the table could not be compared at all; empty when it was."""

    @property
    def differences(self) -> int:
        """Count the rows that differ in any way."""
        return self.missing + self.extra + self.different

    def agrees(self, *, ignore_extra: bool = False) -> bool:
        """Say whether both sides hold the same: every row, every column, and a table on both."""
        return not (self.differing(ignore_extra=ignore_extra) or self.missing_columns or self.problem)

    def differing(self, *, ignore_extra: bool = False) -> int:
        """Count the rows that are in the way of an agreement."""
        return self.differences - (self.extra if ignore_extra else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came out for all tables, with the first of the rows that differ."""

    tables: tuple[TableReport, ...] = ()
    differences: tuple[Difference, ...] = ()
    """As many as were asked for; the counts in ``tables`` know all."""

    def agrees(self, *, ignore_extra: bool = False) -> bool:
        """Say whether source and upstream agree in every table; it is the exit code of ``verify``."""
        return all(table.agrees(ignore_extra=ignore_extra) for table in self.tables)

    @property
    def source_rows(self) -> int:
        """Count the rows of the source that were compared."""
        return sum(table.source_rows for table in self.tables)

    @property
    def extra(self) -> int:
        """Count the rows that only upstream has."""
        return sum(table.extra for table in self.tables)

    def differing(self, *, ignore_extra: bool = False) -> int:
        """Count all rows that differ, listed or not."""
        return sum(table.differing(ignore_extra=ignore_extra) for table in self.tables)

    def as_json(self, *, ignore_extra: bool = False, pending: int | None = None) -> dict[str, Any]:
        """Give the object that ``verify --json`` prints; the command's help documents it."""
        return {
            "agree": self.agrees(ignore_extra=ignore_extra),
            "ignore_extra": ignore_extra,
            "pending": pending,
            "tables": [_table_json(table) for table in self.tables],
            "differences": [_difference_json(difference) for difference in self.differences],
        }


def only_extras(tables: Sequence[TableReport]) -> bool:
    """Say whether tables differ in nothing but rows that upstream has beyond the source's."""
    return any(table.extra for table in tables) and all(table.agrees(ignore_extra=True) for table in tables)


def _table_json(table: TableReport) -> dict[str, Any]:
    return {
        "table": str(table.table),
        "source_rows": table.source_rows,
        "upstream_rows": table.upstream_rows,
        "missing": table.missing,
        "extra": table.extra,
        "different": table.different,
        "unnamed": table.unnamed,
        "not_captured": table.not_captured,
        "other_origin": table.other_origin,
        "missing_columns": list(table.missing_columns),
        "notes": list(table.notes),
        "problem": table.problem or None,
    }


def _difference_json(difference: Difference) -> dict[str, Any]:
    return {
        "table": str(difference.table),
        "kind": difference.kind.value,
        "key": list(difference.key),
        "captured": difference.captured,
        "columns": [
            {"column": column.column, "source": column.source, "upstream": column.upstream}
            for column in difference.columns
        ],
    }
