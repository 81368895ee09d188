"""The ledger of conflicts as people see it, and undoing what a rule decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.rows import class_row

from dbsync.catalog.inspect import inspect
from dbsync.config.fields import ROW_ID
from dbsync.config.models import Config
from dbsync.errors import Refusal
from dbsync.model.catalog import Catalog
from dbsync.model.names import TableName
from dbsync.postgres import primary, translated
from dbsync.service.quarantine import HERE, Leaves, matching, opened, relations, table_of
from dbsync.service.undo import Known, Step, Undo, plan
from dbsync.statements import statement

LEDGER = sql.Identifier("dbsync", "conflict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row that two sides had changed, and what was decided."""

    id: int
    found_at: datetime
    conflict: str
    relation: str
    key: Leaves | None
    node: str
    number: int
    captured_at: datetime
    origin: str | None
    rule: str
    decision: str
    columns: Sequence[str] | None
    """Those in which both differed; None where one side had no row."""
    undone_at: datetime | None
    undone_by: str | None
    age: float
    """Seconds since it was found."""

    @property
    def table(self) -> TableName:
        """Give the table."""
        return table_of(self.relation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries are asked for; what is not said does not matter."""

    patterns: Sequence[str] = ()
    node: str | None = None
    conflict: str | None = None
    since: datetime | None = None
    limit: int | None = None
    """The newest so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What each side wanted the row to be: column -> text; None for no row."""

    source: dict[str, str | None] | None
    upstream: dict[str, str | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What an undo did, or would do."""

    entry: Entry
    step: Step
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The ledger of a database, as a session there sees it."""

    connection: psycopg.Connection
    where: str
    config: Config
    here: bool = False
    """Whether it is this node's own, which commands are told by ``--here``."""

    @property
    def flag(self) -> str:
        """Give what a command needs to be about this database too."""
        return HERE if self.here else ""

    def entries(self, wanted: Wanted) -> tuple[list[Entry], int]:
        """List entries, oldest first, and how many there are in all."""
        asked: dict[str, Any] = {"node": wanted.node, "conflict": wanted.conflict, "since": wanted.since}
        with translated(self.where):
            known = relations(self.connection, LEDGER) if wanted.patterns else []
            asked["relations"] = matching(known, wanted.patterns) if wanted.patterns else None
            found = self._entries(**asked, limit=wanted.limit)
            total = self.connection.execute(statement("quarantine", "count_conflicts"), asked).fetchone()
        return found[::-1], total[0] if total else 0

    def entry(self, number: int) -> Entry:
        """Give one entry; refuse where there is none."""
        with translated(self.where):
            found = self._entries(id=number)
        if not found:
            raise Refusal(f"there is no conflict {number}", where=self.where, hint=f"dbsync conflicts list{self.flag}")
        return found[0]

    def images(self, entry: Entry) -> Images:
        """Give what each side wanted."""
        with translated(self.where):
            row = self.connection.execute(statement("quarantine", "conflict_images"), {"id": entry.id}).fetchone()
        return Images(source=row[0] if row else None, upstream=row[1] if row else None)

    def undo(self, number: int, *, by: str | None = None, force: bool = False, dry_run: bool = False) -> Undone:
        """Bring the loser's values back by an ordinary statement of this session, in one transaction with the mark.

        Refuses when it was undone before, when the row has changed since (unless forced), and where deleting the
        winner's row would touch rows that refer to it. A dry run does it all and keeps nothing.
        """
        entry = self.entry(number)
        with translated(self.where), self.connection.transaction(force_rollback=dry_run):
            self._lock(entry)
            catalog = inspect(self.connection)
            undo = self._plan(entry, catalog)
            self._refuse_changed(undo, force=force)
            self._refuse_referred(undo, catalog)
            self._write(undo, entry)
            self.connection.execute(statement("quarantine", "mark_undone"), {"id": number, "by": by})
        return Undone(entry=entry, step=undo.step, columns=tuple(column.name for column in undo.columns))

    def _lock(self, entry: Entry) -> None:
        row = self.connection.execute(statement("quarantine", "lock_conflict"), {"id": entry.id}).fetchone()
        if row is not None and row[0]:
            entry = self.entry(entry.id)
            raise Refusal(
                f"conflict {entry.id} was undone before, by {entry.undone_by}",
                where=self.where,
                why="an undo is an ordinary change and is not undone; the winner's values stand in the ledger,"
                " to be entered in the application",
                hint=f"dbsync conflicts show {entry.id}{self.flag} --show-values",
            )

    def _plan(self, entry: Entry, catalog: Catalog) -> Undo:
        row = self.connection.execute(statement("quarantine", "wanted_by_both"), {"id": entry.id}).fetchone()
        assert row is not None
        source, upstream, row_id = (frozenset(names) for names in row)
        known = Known(source=source, upstream=upstream, row_id=row_id, columns=tuple(entry.columns or ()))
        table = catalog.table(entry.table)
        if table is None:
            raise Refusal(f"table {entry.table} is not there any more", where=self.where)
        undo = plan(entry.id, entry.decision, known, table, flag=self.flag)
        if undo.step is Step.INSERT and not undo.by_id and self._keyed_by_row_id(entry):
            raise Refusal(
                f"the row of conflict {entry.id} is not upstream, and has no id there to come back with",
                where=self.where,
                hint=f"dbsync resend {entry.table} --key {' '.join(map(str, entry.key or ()))}      at {entry.node}",
            )
        return undo

    def _refuse_changed(self, undo: Undo, *, force: bool) -> None:
        """Lock the winner's row, and see that it is the one that was decided on."""
        if undo.step is Step.INSERT:
            return
        found = self._number(undo.hold())
        held = undo.undone_already()
        if held is not None and self._number(held):
            raise Refusal(
                f"the row of conflict {undo.conflict} holds what the loser wanted already",
                where=self.where,
                why="somebody changed it back since, or undid a later conflict of the same row",
                hint=f"dbsync conflicts show {undo.conflict}{self.flag} --show-values",
            )
        if found > 1:
            raise Refusal(
                f"{found} rows of {undo.table.name} are as conflict {undo.conflict} left one", where=self.where
            )
        if found and (force or not self._number(undo.changed_since())):
            return
        raise Refusal(
            f"the row of conflict {undo.conflict} {'has changed since' if found else 'is not there as it was left'}",
            where=self.where,
            why="undoing would overwrite what somebody wrote later" if found else "it was changed or deleted since",
            hint=f"dbsync conflicts undo {undo.conflict}{self.flag} --force   does it all the same" if found else "",
        )

    def _refuse_referred(self, undo: Undo, catalog: Catalog) -> None:
        if undo.step is not Step.DELETE:
            return
        referring = [str(child.name) for child, query in undo.referring(catalog) if self._number(query)]
        if referring:
            raise Refusal(
                f"the row of conflict {undo.conflict} is referred to by now, and is not deleted",
                where=self.where,
                why=f"by rows of {', '.join(dict.fromkeys(referring))}",
                hint="delete those in the application first, or leave it",
            )

    def _write(self, undo: Undo, entry: Entry) -> None:
        row_key = undo.row_key() if self._keyed_by_row_id(entry) else None
        try:
            if row_key is not None and undo.step is Step.INSERT:
                self.connection.execute(row_key)
            self.connection.execute(statement("apply", "open_path"))
            written = self.connection.execute(undo.write()).rowcount
            if row_key is not None and undo.step is Step.DELETE:
                self.connection.execute(row_key)
            self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except (errors.IntegrityError, errors.DataError, errors.RaiseException) as error:
            constraint = f", constraint {error.diag.constraint_name}" if error.diag.constraint_name else ""
            raise Refusal(
                f"conflict {undo.conflict} cannot be undone as the upstream is now",
                where=self.where,
                why=f"{primary(error)}{constraint}",
                hint=f"dbsync conflicts show {undo.conflict}{self.flag} --show-values   and mend the row in the application",
            ) from error
        if not written:
            raise Refusal(
                f"conflict {undo.conflict} cannot be undone as the upstream is now",
                where=self.where,
                why="a trigger upstream kept the row as it was",
                hint="mend the row in the application",
            )

    def _keyed_by_row_id(self, entry: Entry) -> bool:
        configured = self.config.table_for(entry.table)
        return configured is not None and configured.key == ROW_ID

    def _number(self, query: sql.Composed | sql.SQL) -> int:
        row = self.connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def _entries(self, **parameters: Any) -> list[Entry]:
        everything = dict.fromkeys(("id", "relations", "node", "conflict", "since", "limit"))
        with self.connection.cursor(row_factory=class_row(Entry)) as cursor:
            return cursor.execute(statement("quarantine", "conflicts"), {**everything, **parameters}).fetchall()


@contextmanager
def ledger(config: Config, *, here: bool = False) -> Iterator[Ledger]:
    """Look at the upstream's ledger, or at that of this node's own database."""
    with opened(config, here=here) as (connection, where):
        yield Ledger(connection=connection, where=where, config=config, here=here)
