"""Writing what is staged: at once, and where that fails in parts.

Where PostgreSQL only says that something is wrong, it is looked for in the table that was being written; where that cannot
tell, a span is halved, in the source's order, until the change that is wrong stands alone and goes aside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from dbsync.apply.load import Load, Trouble
from dbsync.apply.order import above
from dbsync.apply.quarantine import Quarantine
from dbsync.apply.refused import TRIES, Unapplicable
from dbsync.apply.segments import count_staged
from dbsync.apply.span import Span
from dbsync.apply.writer import Writer
from dbsync.model.batch import Count, Op
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.policy import Conflict, OnError, Policies
from dbsync.statements import statement

FEW = 100
"""Changes that are parted at once: to write so few once more, in search of what is refused, reads more than it saves."""
SEARCHES = 8
"""Times that a load is written in search of changes that are refused by themselves, before it is parted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Writing one load: whole, and where that fails in parts."""

    connection: psycopg.Connection
    load: Load
    policies: Policies
    writer: Writer
    quarantine: Quarantine
    again: bool = False
    """What was held is tried again."""

    def write_all(self, counts: Sequence[Count] | None, *, again: bool = True) -> None:
        """Write everything; when all is written, try once more what may only have come in the wrong order.

        It may have where parts were written apart. And where a row was renamed: what the same statement did below it, by a
        trigger or by WITH, is in the log before the rename, under the key of after it. And a generic reference may point to
        a row of any table, of its own too, that is written only behind it.
        """
        whole = Span()
        counts = counts if counts is not None else count_staged(self.connection, whole)
        renames = any(count.renames for count in counts)
        if renames:
            self._delete_behind_renames(counts)
            self._follow_renames(counts)
        self.writer.patient = again and renames
        try:
            self._write(whole, counts)
        except Unapplicable as problem:
            self.connection.execute(statement("apply", "index_stage"))
            self._write_the_rest(whole, problem, renames=renames)
        else:
            if not (renames or any(layout.generics for layout in self.load.layouts.values())):
                return
        if again:
            self._try_again()

    def _write_the_rest(self, whole: Span, refused: Unapplicable, *, renames: bool) -> None:
        """Write all but what PostgreSQL refuses, of a load that it refused as a whole: another time, then in parts.

        Where there are many, each row goes aside by itself, and none of them changes its key or needs another one, what is
        refused is looked for table by table.
        """
        ruled = {self.policies.of(self.load.layouts[count.layout].table).on_error for count in refused.counts}
        many = sum(count.changes for count in refused.counts) > FEW
        alone = many and ruled == {OnError.ROW} and not renames and not self.writer.needs_all(self.load, refused.counts)
        self.writer.searches = SEARCHES if alone else 0
        self.writer.careful |= refused.raced
        try:
            if alone or refused.retry:
                self._write(whole, refused.counts)
                return
        except Unapplicable as problem:
            refused = problem
        finally:
            self.writer.searches = 0
        self._part(whole, refused.counts, refused)

    def _delete_behind_renames(self, counts: Sequence[Count]) -> None:
        """Let rows that a delete renames, for their keys ran through the deleted one or what it took along, be renamed before it."""
        layouts = self.load.layouts
        renamed = {count.layout: _runs_through(layouts, count.layout) for count in counts if count.renames}
        for table in sorted({layouts[count.layout].table for count in counts if count.op is Op.DELETE}):
            renaming = sorted(layout for layout, through in renamed.items() if table in through)
            if renaming:
                holding = {table, *above(layouts, table)}
                query = statement("apply", "delete_behind_renames").format(
                    renaming=sql.Literal(renaming),
                    deleted=sql.Literal(sorted(i for i, layout in layouts.items() if layout.table == table)),
                    holding=sql.Literal(sorted(i for i, layout in layouts.items() if layout.table in holding)),
                )
                self.connection.execute(query)

    def _follow_renames(self, counts: Sequence[Count]) -> None:
        """Put what a statement did below a row that it renames behind the rename, where nothing may go aside for a moment."""
        rules = {self.policies.of(self.load.layouts[count.layout].table).on_error for count in counts}
        if rules != {OnError.ROW}:
            self.quarantine.put_behind_renames()

    def _write(self, span: Span, counts: Sequence[Count] | None = None, *, tries: int = 1) -> None:
        """Write a span but for what goes aside; raise Unapplicable when PostgreSQL refuses it as a whole.

        It is tried so often where others may have been in the way. To part many changes costs less than to write them again
        and again, so only what is not parted any more gets all its tries.
        """
        while counts := counts if counts is not None else count_staged(self.connection, span):
            try:
                troubles = self.writer.write(self.load, span, counts)
            except Unapplicable as problem:
                problem.counts = counts
                tries -= 1
                if not problem.retry or not tries:
                    raise
                self.writer.careful |= problem.raced
                continue
            if not troubles:
                return
            if self.again and self._may_come_in_order(troubles, span, counts):
                if not self._is_one(span, counts):
                    self._part(span, counts, None)
                    return
                if self._goes_in_by_steps(span, counts):
                    return
            self.quarantine.hold_troubles(troubles, span)
            counts = None

    def _may_come_in_order(self, troubles: Sequence[Trouble], span: Span, counts: Sequence[Count]) -> bool:
        """Say whether what waited may go in change by change: one of its rows points to another of them.

        Generic references point into tables in no order. Where no row of a transaction is written alone, since it is to stay
        whole or since one of its rows has a key in passing, each is written later so.
        """
        pointing = [t for t in troubles if not t.is_untold and t.place > len(self.load.layouts[t.layout].references)]
        tables = {self.load.layouts[trouble.layout].table for trouble in pointing}
        if any(self.policies.of(table).on_error is OnError.TRANSACTION for table in tables):
            return True
        return sum(count.changes for count in counts) > 1 and self.quarantine.come_along(pointing, span)

    def _part(self, span: Span, counts: Sequence[Count], refused: Unapplicable | None) -> None:
        """Write a span in two parts, down to the change that is the cause.

        ``refused`` says that the whole of it was tried. A second part whose first one went in holds the cause: it is
        parted at once (binary splitting, F. K. Hwang, A method for detecting all defective members, 1972).
        """
        changes = sum(count.changes for count in counts)
        if changes <= 1 or self._is_one(span, counts):
            self._single(span, counts, refused, whole=changes > 1)
            return
        middle = self._middle(span, (changes - 1) // 2)
        second = replace(span, low=middle)
        if self._goes_in(replace(span, high=middle)):
            self._part(second, count_staged(self.connection, second), None)
        else:
            self._goes_in(second)

    def _goes_in(self, span: Span) -> bool:
        """Write a span, in parts where it is refused; say whether it went in at once."""
        try:
            self._write(span)
        except Unapplicable as problem:
            self._part(span, problem.counts, problem)
            return False
        return True

    def _single(self, span: Span, counts: Sequence[Count], refused: Unapplicable | None, *, whole: bool) -> None:
        """Write what is not parted any more, or hold it."""
        if refused is None or refused.retry:
            self.writer.careful |= refused is not None
            try:
                self._write(span, counts, tries=TRIES if refused is None else TRIES - 1)
                return
            except Unapplicable as problem:
                refused = problem
        if not (whole and self._goes_in_by_steps(span, counts)):
            self.quarantine.hold_first(span, _kind(refused, counts), refused.reason, whole=whole)
            self._write(span)

    def _goes_in_by_steps(self, span: Span, counts: Sequence[Count]) -> bool:
        """Write a transaction that stays whole as its changes came; say whether all of it went in, else nothing did.

        A value that only one row may have, and that goes from one row to another, is met twice where both are written at once.
        """
        try:
            with self.connection.transaction():
                self._write_by_steps(span, counts)
                self.writer.settle()
        except Unapplicable:
            return False
        return True

    def _write_by_steps(self, span: Span, counts: Sequence[Count]) -> None:
        """Write the two parts of a span that was refused, in their order; raise Unapplicable where a single change is."""
        changes = sum(count.changes for count in counts)
        if changes <= 1:
            raise Unapplicable("a change of it has to wait")
        middle = self._middle(span, (changes - 1) // 2)
        for part in (replace(span, high=middle), replace(span, low=middle)):
            of_part = count_staged(self.connection, part)
            if not self._is_written(part, of_part):
                self._write_by_steps(part, of_part)

    def _is_written(self, span: Span, counts: Sequence[Count]) -> bool:
        """Write a span as a step of many, whose constraints are asked at the end; say whether that went."""
        try:
            return not self.writer.write(self.load, span, counts, settled=False)
        except Unapplicable:
            return False

    def _middle(self, span: Span, half: int) -> int:
        query = statement("apply", "middle").format(range=span.condition(), half=sql.Literal(half))
        row = self.connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def _is_one(self, span: Span, counts: Sequence[Count]) -> bool:
        """Say whether a span is one transaction that is to stay whole.

        A table's rule may say so, and rows that cannot be without each other. And a row must not be left with a key that it
        has only in passing (a swap).
        """
        tables = {self.load.layouts[count.layout].table for count in counts}
        ruled = any(self.policies.of(table).on_error is OnError.TRANSACTION for table in tables)
        bound = ruled or self.writer.needs_all(self.load, counts)
        if not bound and not any(count.renames for count in counts):
            return False
        row = self.connection.execute(
            sql.SQL("SELECT count(DISTINCT s.tx) FROM pg_temp.dbsync_stage s WHERE {}").format(span.condition())
        ).fetchone()
        return row is not None and row[0] == 1 and (bound or self.quarantine.passes_through(span))

    def _try_again(self) -> None:
        """Write what was held and may go now, as long as some of it does: one may be what another one waits for."""
        while suspects := self.quarantine.suspects():
            waiting = self.quarantine.count_held()
            self._try_once_more(suspects)
            if self.quarantine.count_held() == waiting:
                return

    def _try_once_more(self, cases: Sequence[int]) -> None:
        self.connection.execute(statement("aside", "empty_stage"))
        asked = {"lineage": self.load.lineage, "cases": list(cases), "alone": False}
        self.connection.execute(statement("aside", "stage_again"), asked)
        quarantine = Quarantine(self.connection, self.load, self.writer.catalog, self.policies, halts=False)
        quarantine.hold_dependents()
        replace(self, quarantine=quarantine, again=True).write_all(None, again=False)
        self.connection.execute(statement("aside", "release"))
        self.connection.execute(statement("aside", "free_those_behind"))


def _runs_through(layouts: Mapping[int, Layout], layout: int) -> frozenset[TableName]:
    """Give the tables through which a layout's key runs, and those that they refer to."""
    key = layouts[layout].key
    through = set(key.through()) if key is not None else set()
    return frozenset(through).union(*(above(layouts, table) for table in through))


def _kind(problem: Unapplicable, counts: Sequence[Count]) -> Conflict:
    """Name the conflict; a foreign key that refuses a delete is held by the rows that refer to it."""
    if problem.conflict is Conflict.REFERENCE_MISSING and {count.op for count in counts} == {Op.DELETE}:
        return Conflict.STILL_REFERENCED
    return problem.conflict
