"""The quarantine of a database as people see it: its cases, and what is decided about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row, tuple_row

from dbsync import schema
from dbsync.apply.load import Released
from dbsync.config.models import Config
from dbsync.errors import ConfigError, Refusal, UsageError
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.postgres import connect, let_server_notice, translated
from dbsync.silence import SILENCE
from dbsync.statements import statement

PATIENCE = 5.0
"""Seconds that somebody who typed a command waits for a batch of the node that is being applied."""

HERE = " --here"
"""What lets a command ask this node's own database."""

Leaves = Sequence[str | None]

QUARANTINE = sql.Identifier("dbsync", "quarantine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A change that could not be applied; with ``behind`` set, one that waits behind such a case."""

    id: int
    state: str
    node: str
    number: int
    relation: str
    layout: int
    op: str
    renames: bool
    key: Leaves | None
    old_key: Leaves | None
    conflict: str
    reason: str
    behind: int | None
    awaits: str | None
    awaits_key: Leaves | None
    awaits_column: str | None
    captured_at: datetime
    quarantined_at: datetime
    attempts: int
    tried_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    decision: str | None
    waits: int
    """Changes that wait behind it."""
    age: float
    """Seconds since it was put aside."""

    @property
    def table(self) -> TableName:
        """Give the table."""
        return table_of(self.relation)

    @property
    def awaits_table(self) -> TableName | None:
        """Give the table of the row or column that it waits for."""
        return table_of(self.awaits) if self.awaits else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which cases are asked for; what is not said does not matter."""

    patterns: Sequence[str] = ()
    """Names or patterns of tables."""
    node: str | None = None
    conflict: str | None = None
    state: str | None = "waiting"
    limit: int | None = None
    """The newest so many."""

    @property
    def is_of_all(self) -> bool:
        """Say whether whatever waits is asked for."""
        return not (self.patterns or self.node or self.conflict) and self.state in ("waiting", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Cases, oldest first, and how many there are in all."""

    cases: tuple[Case, ...]
    total: int
    behind: int
    """Changes that wait behind any of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What a change holds: names with their values as text, of the new row and of the old one."""

    new: tuple[tuple[str, str | None], ...] = ()
    old: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A database in which changes wait, as a session there sees it."""

    connection: psycopg.Connection
    where: str
    """``source`` or ``upstream``, for errors."""
    config: Config
    here: bool = False
    """Whether it is this node's own, which commands are told by ``--here``."""

    @property
    def flag(self) -> str:
        """Give what a command needs to be about this database too."""
        return HERE if self.here else ""

    def listing(self, wanted: Wanted) -> Listing:
        """List cases."""
        asked = self._asked(wanted)
        with translated(self.where):
            found = self._cases(**asked, limit=wanted.limit)
            row = self.connection.execute(statement("quarantine", "count_cases"), asked).fetchone()
        assert row is not None
        return Listing(cases=tuple(reversed(found)), total=row[0], behind=row[1])

    def case(self, number: int) -> Case:
        """Give one case, or one of the changes behind a case; refuse where there is none."""
        with translated(self.where):
            found = self._cases(id=number)
        if not found:
            hint = f"dbsync quarantine list{self.flag}"
            raise Refusal(f"there is no row {number} in quarantine", where=self.where, hint=hint)
        return found[0]

    def behind(self, case: Case, limit: int) -> list[Case]:
        """Give the first changes that wait behind a case."""
        with translated(self.where):
            return self._cases(behind=case.id, limit=limit)

    def values(self, cases: Sequence[Case]) -> dict[int, Values]:
        """Give what changes hold; those already released hold nothing any more."""
        ids = [case.id for case in cases]
        with translated(self.where):
            rows = self.connection.execute(statement("quarantine", "images"), {"ids": ids}).fetchall()
        return {
            number: _values(image, old_image, refs, old_refs, definition)
            for number, image, old_image, refs, old_refs, definition in rows
        }

    def export(self, wanted: Wanted) -> Iterator[Case]:
        """Give all changes that wait, oldest first: cases and what is behind them, streamed by the server."""
        query = statement("quarantine", "cases")
        parameters = {**_EVERYTHING, **self._asked(wanted), "all": True}
        with translated(self.where), self.connection.transaction():
            oldest_first = sql.SQL("SELECT * FROM ({}) q ORDER BY q.id").format(query)
            with self.connection.cursor(name="dbsync_export", row_factory=class_row(Case)) as cursor:
                yield from cursor.execute(oldest_first, parameters)

    def with_values(self, cases: Iterator[Case], size: int = 500) -> Iterator[tuple[Case, Values]]:
        """Give changes with what they hold, some at a time."""
        while chunk := list(islice(cases, size)):
            held = self.values(chunk)
            for case in chunk:
                yield case, held.get(case.id, Values())

    def retry(self, numbers: Sequence[int] | None, *, node: str | None = None, source_wins: bool = False) -> Released:
        """Try cases again with all that waits behind them, or all cases (of a node); what cannot be applied stays.

        ``source_wins`` decides those that a conflict put aside as ``on_conflict = "source"`` would. A node whose batch
        takes long to apply is left alone, and named.
        """
        cases = self._all(node) if numbers is None else [self._waiting(number).id for number in numbers]
        if not cases:
            return Released(released=0, waiting=0)
        return self._release(cases, source_wins=source_wins)

    def skip(self, number: int, reason: str, *, by: str | None = None) -> Released:
        """Leave a change out for good, with the reason; what waited behind it is tried on its own.

        The decision is committed before anything is tried: a crash in between leaves cases that somebody can retry.
        """
        self._waiting(number)
        with translated(self.where), self.connection.transaction():
            self.connection.execute(statement("quarantine", "take_turn"), {"id": number})
            parameters = {"id": number, "reason": reason, "by": by}
            skipped = self.connection.execute(statement("quarantine", "skip"), parameters).fetchone()
            if skipped is None:
                raise Refusal(f"row {number} was decided by somebody else just now", where=self.where)
            freed = self.connection.execute(statement("quarantine", "free"), {"id": number}).fetchall()
        if not freed:
            return Released(released=0, waiting=0)
        return self._release([row[0] for row in freed])

    def _release(self, cases: Sequence[int], *, source_wins: bool = False) -> Released:
        with translated(self.where):
            from dbsync.apply.applier import Applier  # noqa: PLC0415 - it takes a while, and only a retry needs it

            applier = Applier(self.connection, self.config.policies)
            return applier.release(cases, source_wins=source_wins, patience=PATIENCE)

    def _waiting(self, number: int) -> Case:
        """Give a case that waits; refuse what is decided, and what waits behind another case."""
        case = self.case(number)
        if case.state != "waiting":
            raise Refusal(
                f"row {number} does not wait any more: it was {case.state} by {case.decided_by}",
                where=self.where,
                why=case.decision or "",
                hint=f"dbsync quarantine show {number}{self.flag}",
            )
        if case.behind is not None:
            raise Refusal(
                f"row {number} waits behind row {case.behind}, and is decided with it",
                where=self.where,
                why=case.reason,
                hint=f"dbsync quarantine show {case.behind}{self.flag}",
            )
        return case

    def _all(self, node: str | None) -> list[int]:
        with translated(self.where):
            return [row[0] for row in self.connection.execute(statement("quarantine", "waiting"), {"node": node})]

    def _asked(self, wanted: Wanted) -> dict[str, Any]:
        return {
            "state": wanted.state,
            "node": wanted.node,
            "conflict": wanted.conflict,
            "relations": matching(self._relations(), wanted.patterns) if wanted.patterns else None,
        }

    def _relations(self) -> list[str]:
        with translated(self.where):
            return relations(self.connection, QUARANTINE)

    def _cases(self, **parameters: Any) -> list[Case]:
        with self.connection.cursor(row_factory=class_row(Case)) as cursor:
            return cursor.execute(statement("quarantine", "cases"), {**_EVERYTHING, **parameters}).fetchall()


_EVERYTHING: dict[str, Any] = dict.fromkeys(("id", "behind", "state", "relations", "node", "conflict", "limit")) | {
    "all": False
}


@contextmanager
def desk(config: Config, *, here: bool = False) -> Iterator[Desk]:
    """Look at the upstream, or at this node's own database: at what other nodes sent into it."""
    with opened(config, here=here) as (connection, where):
        yield Desk(connection=connection, where=where, config=config, here=here)


@contextmanager
def opened(config: Config, *, here: bool) -> Iterator[tuple[psycopg.Connection, str]]:
    """Open the database in which changes arrived: the upstream's, or this node's own; and say what it is to the node.

    Raises what says how to ask for the other of the two, where that one cannot be asked from here.
    """
    if not here and config.above is None:
        raise ConfigError(
            "this node has no upstream to ask",
            where="dbsync.toml",
            why="it has no section [upstream]: what others brought is in its own database",
            hint="type the same with --here",
        )
    dsn, where = (config.node.source, "source") if here else (config.upstream.database, "upstream")
    with connect(dsn, name=where, pooled=not here) as connection:
        schema.require(connection, where, f"install-upstream{HERE}" if here else None)
        let_server_notice(connection, SILENCE)
        yield connection, where


def table_of(relation: str) -> TableName:
    """Read a table's name as it stands in dbsync's own tables."""
    schema_name, _, name = relation.partition(".")
    return TableName(schema_name, name)


def relations(connection: psycopg.Connection, table: sql.Identifier) -> list[str]:
    """List the tables that are spoken of in the quarantine or in the ledger."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        query = statement("quarantine", "relations").format(table=table)
        return sorted(str(relation) for (relation,) in cursor.execute(query))


def matching(known: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Choose the tables that names or patterns select; none is no mistake, there may be nothing of a table."""
    wrong = next((pattern for pattern in patterns if not pattern.strip()), None)
    if wrong is not None:
        raise UsageError("an empty name selects no table")
    return [relation for relation in known if any(table_of(relation).matches(pattern) for pattern in patterns)]


def _values(
    image: Leaves | None, old_image: Leaves | None, refs: Leaves | None, old_refs: Leaves | None, definition: Any
) -> Values:
    if definition is None:
        return Values()
    layout = Layout.read(definition)
    before = old_refs if old_refs is not None else refs
    return Values(
        new=_named(layout, image, refs), old=_named(layout, old_image, before) if old_image is not None else ()
    )


def _named(layout: Layout, image: Leaves | None, refs: Leaves | None) -> tuple[tuple[str, str | None], ...]:
    """Name the elements of an image and of references; a reference's key is shown as one."""
    if image is None:
        return ()
    found = [(name, value) for (name, _), value in zip(layout.columns, image, strict=False)]
    if refs:
        for reference, first in layout.reference_positions():
            leaves = refs[first - 1 : first - 1 + reference.target.width]
            found.append((", ".join(reference.columns), shown_leaves(leaves)))
        for generic, first in layout.generic_positions():
            pointed = refs[first - 1 : first + 1]
            found.append((generic.id_column, " ".join(str(part) for part in pointed if part is not None) or None))
    return tuple(found)


def shown_leaves(leaves: Leaves) -> str | None:
    """Show a reference's key; None where it is null.

    >>> shown_leaves(["SUBJ-0012", "1000"]), shown_leaves([None, None])
    ('(SUBJ-0012, 1000)', None)
    """
    if all(leaf is None for leaf in leaves):
        return None
    return f"({', '.join('null' if leaf is None else leaf for leaf in leaves)})"
