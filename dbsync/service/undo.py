"""Undoing a decided conflict: the loser's values come back into the upstream's row, by PostgreSQL's own input functions.

Which statement that is follows from what each side had: a row that the winner changed is updated, one that it deleted is
inserted, one that it made is deleted. Pure: it composes SQL around ``dbsync.conflict c``, and never sees a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from psycopg import sql

from dbsync.errors import Refusal
from dbsync.keys.expression import Query, Sql, column_sql, local_id, table_sql, value_of
from dbsync.model.catalog import Catalog, Column, Table
from dbsync.statements import statement

_IMAGES = {"source": "source_image", "upstream": "upstream_image"}


class Step(StrEnum):
    """What an undo does to the upstream's row."""

    UPDATE = "update"
    INSERT = "insert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """How one conflict is undone."""

    conflict: int
    table: Table
    step: Step
    winner: str
    """``source_image`` or ``upstream_image``: what the row was left as."""
    loser: str
    columns: tuple[Column, ...]
    """Those that get the loser's values."""
    left: tuple[Column, ...]
    """Those that the winner decided, as far as they are known."""
    by_id: bool
    """Whether the row's primary key is known."""

    def hold(self) -> Query:
        """Compose the question how many rows it is about, which locks them."""
        return self._said("hold_row")

    def changed_since(self) -> Query:
        """Compose the question whether the row has other values by now."""
        return self._said("changed_since", as_left=self._as_left())

    def undone_already(self) -> Query | None:
        """Compose the question how many rows hold what the loser wanted by now; None where that is not told so."""
        if self.step is not Step.UPDATE:
            return None
        return self._said("count_as", as_wanted=self._holds(self.loser, self.columns))

    def referring(self, catalog: Catalog) -> Iterator[tuple[Table, Query]]:
        """Compose the questions whether rows of other tables refer to it, table by table."""
        for child in catalog.tables.values():
            for key in (*child.foreign_keys, *child.partition_keys):
                if key.target == self.table.name:
                    pairs = zip(key.columns, key.target_columns, strict=True)
                    refers = [sql.SQL("{} = {}").format(column_sql("x", a), column_sql("t", b)) for a, b in pairs]
                    yield child, self._said("referring", child=table_sql(child.name), refers=_and(refers))

    def write(self) -> Query:
        """Compose the statement that brings the loser's row back."""
        match self.step:
            case Step.UPDATE:
                values = [sql.SQL("{} = {}").format(sql.Identifier(c.name), self._value(c)) for c in self.columns]
                return self._said("undo_update", assignments=sql.SQL(", ").join(values))
            case Step.DELETE:
                return self._said("undo_delete")
            case Step.INSERT:
                return self._said(
                    "undo_insert",
                    columns=sql.SQL(", ").join(sql.Identifier(c.name) for c in self.columns),
                    values=sql.SQL(", ").join(map(self._value, self.columns)),
                )

    def row_key(self) -> Query | None:
        """Compose what keeps ``dbsync.row_key`` true of a row that comes back or goes; None where no id is known."""
        if self.step is Step.UPDATE or not self.by_id:
            return None
        texts = [_text("row_id", name) for name in self.table.primary_key]
        local = texts[0] if len(texts) == 1 else sql.SQL("ARRAY[{}]::pg_catalog.text").format(sql.SQL(", ").join(texts))
        return self._said("know_row" if self.step is Step.INSERT else "forget_row", local_id=local)

    def _said(self, block: str, **more: Sql) -> Query:
        return statement("quarantine", block).format(
            table=table_sql(self.table.name), id=sql.Literal(self.conflict), same_row=self._same_row(), **more
        )

    def _same_row(self) -> Sql:
        """Find the row by its primary key; one whose key nobody wrote down by all that it was left as.

        Rows with ``key = "row_id"`` may all look alike: one that is known by another UUID is another row.
        """
        if not self.by_id:
            return _and([self._as_left(), statement("quarantine", "not_another").format(local_id=self._local_id())])
        columns = [column for column in self.table.columns if column.name in self.table.primary_key]
        return _and(
            [
                sql.SQL("{} {} {}").format(
                    column_sql("t", c.name), sql.SQL(c.equals), value_of(_text("row_id", c.name), c)
                )
                for c in columns
            ]
        )

    def _local_id(self) -> Sql:
        return local_id("t", self.table.primary_key) if self.table.primary_key else sql.SQL("NULL")

    def _as_left(self) -> Sql:
        """Say that the row holds what the winner left in it, byte for byte."""
        return self._holds(self.winner, self.left)

    def _holds(self, image: str, columns: Sequence[Column]) -> Sql:
        comma = sql.SQL(", ")
        current = comma.join(column_sql("t", c.name) for c in columns)
        wanted = comma.join(
            sql.SQL("({})::{}").format(value_of(_text(image, c.name), c), sql.SQL(c.type)) for c in columns
        )
        return sql.SQL("pg_catalog.record_image_eq(ROW({}), ROW({}))").format(current, wanted)

    def _value(self, column: Column) -> Sql:
        """Say the loser's value; what its image lacks is in the primary key."""
        text = _text(self.loser, column.name)
        if self.step is Step.INSERT and self.by_id and column.name in self.table.primary_key:
            text = sql.SQL("coalesce({}, {})").format(text, _text("row_id", column.name))
        return value_of(text, column)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the ledger holds of a conflict: the names of the columns in either image and in the row's id."""

    source: frozenset[str]
    upstream: frozenset[str]
    row_id: frozenset[str]
    columns: tuple[str, ...]
    """Those in which both differed."""


def plan(conflict: int, decision: str, known: Known, table: Table, *, flag: str = "") -> Undo:
    """Decide how a conflict is undone; refuse where nothing was decided, or nothing was lost.

    ``flag`` is what a command needs to be about the same database.
    """
    names = {"source": known.source, "upstream": known.upstream}
    if decision not in names:
        raise Refusal(
            f"conflict {conflict} was not decided by a rule, so there is nothing to undo",
            why="it went to quarantine, for a person to decide"
            if decision == "quarantine"
            else "neither side had the row",
            hint=f"dbsync quarantine list{flag}"
            if decision == "quarantine"
            else f"dbsync conflicts show {conflict}{flag}",
        )
    loser = "upstream" if decision == "source" else "source"
    won, lost = names[decision], names[loser]
    step = _step(conflict, won, lost, known.columns)
    by_id = bool(table.primary_key) and known.row_id >= set(table.primary_key)
    wanted = set(known.columns) if step is Step.UPDATE else lost
    if step is Step.INSERT and by_id:
        wanted = wanted | set(table.primary_key)
    return Undo(
        conflict=conflict,
        table=table,
        step=step,
        winner=_IMAGES[decision],
        loser=_IMAGES[loser],
        columns=_columns(table, wanted),
        left=_columns(table, set(known.columns) if step is Step.UPDATE else won),
        by_id=by_id,
    )


def _step(conflict: int, won: frozenset[str], lost: frozenset[str], columns: Sequence[str]) -> Step:
    if won and lost and columns:
        return Step.UPDATE
    if won and lost:
        raise Refusal(f"nothing was lost in conflict {conflict}", why="both sides agreed in every column")
    if lost:
        return Step.INSERT
    if won:
        return Step.DELETE
    raise Refusal(f"nothing was lost in conflict {conflict}", why="neither side had the row")


def _columns(table: Table, names: Sequence[str] | set[str] | frozenset[str]) -> tuple[Column, ...]:
    gone = sorted(name for name in names if table.column(name) is None)
    if gone:
        raise Refusal(
            f"table {table.name} has no column {', '.join(gone)} any more",
            where="upstream",
            why="it was migrated since the conflict",
        )
    return tuple(column for column in table.columns if column.name in names and not column.generated)


def _text(image: str, column: str) -> Sql:
    return sql.SQL("(c.{} ->> {})").format(sql.Identifier(image), sql.Literal(column))


def _and(conditions: Sequence[Sql]) -> Sql:
    return sql.SQL(" AND ").join(conditions)
