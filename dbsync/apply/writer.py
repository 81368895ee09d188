"""Writing what is staged: segment by segment, table by table, each by one statement composed once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import errors, sql

from dbsync.apply.bystanders import Acting
from dbsync.apply.culprits import Culprits, run_apart
from dbsync.apply.depart import depart_statements
from dbsync.apply.edited import edited_columns, edited_statement, edits, may_be_edited
from dbsync.apply.fresh import fresh_statement, may_be_fresh
from dbsync.apply.judge import CLOCK
from dbsync.apply.load import Load, Trouble
from dbsync.apply.order import Step, delete_order, write_order
from dbsync.apply.path import SearchPath
from dbsync.apply.pointed import narrowed
from dbsync.apply.refused import Unapplicable, is_no_rows_fault, unapplicable
from dbsync.apply.resolve import target_table
from dbsync.apply.segments import by_layout, count_staged, segments
from dbsync.apply.share import RANGE, Share
from dbsync.apply.skew import ignored_columns
from dbsync.apply.span import Span
from dbsync.apply.typed import Rows, rows_statement
from dbsync.apply.wish import Wish
from dbsync.apply.write import (
    absent_statement,
    delete_statement,
    doom_statement,
    forget_statement,
    lock_statement,
    watched,
    wish_statement,
    write_statement,
)
from dbsync.errors import Refusal
from dbsync.keys.expression import Query
from dbsync.keys.postponed import may_follow
from dbsync.model.batch import Count, Op
from dbsync.model.catalog import Catalog
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.policy import OnDelete, OnError, Policies
from dbsync.model.registration import KeyReference
from dbsync.statements import statement

MANY = 1_000
"""Changes of a table from which on it pays to ask whether any row was changed twice, and to try them all as what they seem."""
DOUBT = 50
"""Shares of a layout that are not tried so, after one that was something else."""


class Writer:
    """Writes spans of the stage into tables that stay as the catalog says; what it composes it keeps."""

    def __init__(self, connection: psycopg.Connection, catalog: Catalog, policies: Policies, path: SearchPath) -> None:
        self._connection = connection
        self._path = path
        self.catalog = catalog
        self.policies = policies
        self._composed: dict[tuple[object, ...], list[str]] = {}
        self._acting = Acting(catalog)
        self._doubted = Counter[int]()
        self._deferrable_keys: str | None = None
        """The constraints that keep a key one row's and may be asked late, as SQL; None before they are looked for."""
        self.by_origin = False
        """Whether the first origin of each change is to be announced."""
        self.clock_trusted = False
        self.few = False
        """Whether so few changes are staged that planning a statement takes longer than running it: then its plan is kept."""
        self.careful = False
        """Whether others want the same rows: then each share's are locked, in the order of their keys, before they are judged."""
        self.again = False
        """Whether all of it waited before: it can wait on, also for a right that is missing."""
        self.searches = 0
        """Times that a share which is refused is run in parts, to find out which changes are."""
        self.patient = False
        """Whether a delete whose key runs through a row that is not there is to be tried once more behind all the rest."""

    def write(self, load: Load, span: Span, counts: Sequence[Count], *, settled: bool = True) -> list[Trouble]:
        """Write a span under a savepoint, constraints checked before it is kept; not those that may wait, where it is not ``settled``.

        Gives the changes that cannot be written now; then nothing was. Raises Unapplicable when PostgreSQL refuses.
        """
        troubles: list[Trouble] = []
        try:
            with self._refusing(troubles), self._connection.transaction() as savepoint:
                parts = segments(self._connection, load, span, counts, by_origin=self.by_origin)
                for part in parts:
                    of_part = counts if part is span else count_staged(self._connection, part)
                    self._segment(load, part, of_part, troubles)
                    if troubles:
                        raise psycopg.Rollback(savepoint)
                    if part is not parts[-1] or not settled:
                        self._check_keys()
                if settled:
                    self._check_all()
        except Culprits as found:
            self.searches -= 1
            return found.troubles
        return troubles

    def settle(self) -> None:
        """Check the constraints that were let wait; raises Unapplicable when PostgreSQL refuses."""
        with self._refusing([]):
            self._check_all()

    @contextmanager
    def _refusing(self, troubles: Sequence[Trouble]) -> Iterator[None]:
        """Say what PostgreSQL refuses as Unapplicable, unless the ``troubles`` are the cause."""
        try:
            yield
        except psycopg.Error as error:
            if self._must_halt(error):
                raise
            if not troubles:
                raise unapplicable(error) from error
        except Refusal as error:
            raise Unapplicable(str(error)) from error

    def _check_all(self) -> None:
        self._path.give_back()
        self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self._path.take_back()

    def _must_halt(self, error: psycopg.Error) -> bool:
        """Say whether nothing can be put aside for an error; what was put aside before halts nobody for want of a right."""
        return is_no_rows_fault(error) and not (self.again and isinstance(error, errors.InsufficientPrivilege))

    def needs_all(self, load: Load, counts: Sequence[Count]) -> bool:
        """Say whether new rows of some tables need each other: an id stands in for one until it is there."""
        new = {count.layout for count in counts if count.op in (Op.INSERT, Op.BACKFILL)}
        steps = self._order(load, new)
        shares = (
            self._share(load.layouts[step.layout], step.layout, {Op.INSERT}, Span(), late=step.late)
            for step in steps
            if step.late
        )
        return any(share.stands_in(reference) for share in shares for _, reference, _ in share.references)

    def _segment(self, load: Load, span: Span, counts: Sequence[Count], troubles: list[Trouble]) -> None:
        """Write one segment: what is referred to first, then what refers to it; deletes the other way round."""
        kinds = by_layout(counts)
        rows = self._rows_of_many(load, span, kinds)
        steps = self._order(load, kinds)
        writing = [step for step in steps if set(kinds[step.layout]) != {Op.DELETE}]
        deleting = self._in_delete_order(load, [step for step in steps if Op.DELETE in kinds[step.layout]])

        def share(step: Step, **kind: Any) -> Share:
            of = kinds[step.layout]
            share = self._share(load.layouts[step.layout], step.layout, set(of), span, **kind)
            once = step.layout in rows and rows[step.layout].number == of.total()
            return self._narrowed(replace(share, reduce=False) if once else share, span)

        if self.by_origin:
            self._connection.execute(statement("apply", "origin"), {"origin": span.origin or load.node})
        self._connection.execute("SET CONSTRAINTS ALL DEFERRED")
        for step in writing:
            part = share(step, late=step.late)
            if not self._taken_as_it_seems(part, kinds[step.layout], rows.get(step.layout), span):
                self._run(part, span, troubles)
        if troubles:
            return
        for step in writing:
            if step.late:
                self._run(share(step, catch_up=step.late), span, troubles)
        self._delete([self._patiently(share(step, deletes_only=True)) for step in deleting], span, troubles)

    def _narrowed(self, share: Share, span: Span) -> Share:
        return narrowed(share, lambda query: self._execute(query.as_string(self._connection), span))

    def _patiently(self, share: Share) -> Share:
        """Let deletes be tried once more behind all the rest, where going aside for a moment stops nothing else."""
        return replace(share, patient=self.patient and share.policy.on_error is OnError.ROW)

    def _check_keys(self) -> None:
        """Hold that each key is one row's before the next segment finds rows by their keys.

        Foreign keys are left to the end: who renames a code and then the rows that refer to it by its value, in one
        transaction, relies on nobody asking in between.
        """
        if self._deferrable_keys is None:
            found = self._connection.execute(statement("apply", "deferrable_keys")).fetchall()
            self._deferrable_keys = ", ".join(name for (name,) in found)
        if self._deferrable_keys:
            names = sql.SQL(self._deferrable_keys)  # quoted by PostgreSQL
            self._connection.execute(sql.SQL("SET CONSTRAINTS {} IMMEDIATE").format(names))

    def _taken_as_it_seems(self, share: Share, kinds: Counter[Op], rows: Rows | None, span: Span) -> bool:
        """Try many changes as what they most likely are; say whether that was all of them, else nothing is done."""
        if kinds.total() < MANY or self._path.hides or self.searches:
            return False
        if self._doubted[share.identity]:
            self._doubted[share.identity] -= 1
            return False
        seeming = self._seeming(share, set(kinds), rows, span)
        if seeming is None:
            return False
        wanted = rows.number if rows is not None else kinds.total()
        try:
            with self._connection.transaction() as savepoint:
                done = self._execute(seeming.as_string(self._connection), span).rowcount
                if done == wanted:
                    return True
                raise psycopg.Rollback(savepoint)
        except psycopg.Error as error:
            if self._must_halt(error):
                raise
        self._doubted[share.identity] = DOUBT
        return False

    def _seeming(self, share: Share, ops: set[Op], rows: Rows | None, span: Span) -> Query | None:
        """Compose what writes changes that are all of new rows, or all edits of rows that nobody else touched."""
        if may_be_fresh(share, ops) and (rows is None or rows.all_new):
            return fresh_statement(share)
        if not may_be_edited(share, ops):
            return None
        told = self._execute(edits(share).as_string(self._connection), span).fetchone()
        assert told is not None
        edited = edited_columns(share, told)
        return edited_statement(replace(share, edited=edited)) if edited else None

    def _rows_of_many(self, load: Load, span: Span, kinds: Mapping[int, Counter[Op]]) -> dict[int, Rows]:
        """Say of layouts with many changes, of which a row may have several, how many rows they are."""
        found: dict[int, Rows] = {}
        for layout, of in kinds.items():
            share = self._share(load.layouts[layout], layout, set(of), span)
            if of.total() >= MANY and share.reduce:
                query = rows_statement(share, may_begin=may_be_fresh(share, set(of)))
                row = self._execute(query.as_string(self._connection), span).fetchone()
                assert row is not None
                found[layout] = Rows(*row)
        return found

    def _delete(self, shares: Sequence[Share], span: Span, troubles: list[Trouble]) -> None:
        """Delete the gone rows of some shares, but for those that a constraint would carry on to rows nobody named."""
        applied = [share for share in shares if share.policy.on_delete is not OnDelete.IGNORE]
        self._spare(applied, span, troubles)
        for share in () if troubles else applied:
            self._run(share, span, troubles)
            if share.layout.keyed_by_row_id and not troubles:
                self._execute(forget_statement(share).as_string(self._connection), span)

    def _order(self, load: Load, layouts: Iterable[int]) -> tuple[Step, ...]:
        present = {layout: load.layouts[layout] for layout in layouts}
        return write_order(present, self._is_required, self._may_follow, self._asked_at_once)

    def _in_delete_order(self, load: Load, steps: Sequence[Step]) -> list[Step]:
        """Order deletes by all constraints, above all by those that wait for nothing, and above those by what rows are found by."""
        held_by, asked_by, found_by = (defaultdict[TableName, set[TableName]](set) for _ in range(3))
        layouts = [load.layouts[step.layout] for step in steps]
        for layout in layouts:
            for key in target_table(self.catalog, layout.table).foreign_keys:
                held_by[key.target].add(layout.table)
                if not (key.deferrable or key.acts_on_delete):
                    asked_by[key.target].add(layout.table)
            for table in layout.key.through() if layout.key is not None else ():
                found_by[table].add(layout.table)
        order = delete_order(dict.fromkeys(layout.table for layout in layouts), held_by, asked_by, found_by)
        return sorted(steps, key=lambda step: order.index(load.layouts[step.layout].table))

    def _is_required(self, name: TableName, columns: Sequence[str]) -> bool:
        table = target_table(self.catalog, name)
        known = [column for name in columns if (column := table.column(name)) is not None]
        return not all(column.nullable for column in known)

    def _may_follow(self, name: TableName, reference: KeyReference) -> bool:
        table, target = (target_table(self.catalog, known) for known in (name, reference.target.table))
        return may_follow(reference, table, target)

    def _asked_at_once(self, layout: Layout) -> list[TableName]:
        told = [set(reference.columns) for reference in layout.references]
        values = {name for name, _ in layout.columns}
        keys = target_table(self.catalog, layout.table).foreign_keys
        return [
            k.target for k in keys if not k.deferrable and set(k.columns) not in told and values.issuperset(k.columns)
        ]

    def _share(self, layout: Layout, identity: int, ops: set[Op], span: Span, **kind: Any) -> Share:
        return Share(
            identity=identity,
            layout=layout,
            catalog=self.catalog,
            policy=self.policies.of(layout.table),
            ignored=ignored_columns(layout, self.catalog),
            reduce=ops not in ({Op.INSERT}, {Op.DELETE}),  # then a key occurs once
            updates=bool(ops & {Op.UPDATE, Op.DELETE}) and ops != {Op.DELETE},
            renames=span.renames,
            ordered=self.careful,
            **kind,
        )

    def _wished(self, share: Share, span: Span) -> Share:
        """Leave out what would do nothing but run triggers."""
        names = watched(share)
        if share.deletes_only or not (names or share.table.statement_triggers):
            return share
        row = self._execute(wish_statement(share).as_string(self._connection), span).fetchone()
        assert row is not None
        inserts, updates, changed = row
        return replace(share, wish=Wish(inserts=inserts, updates=updates, watched=names, changed=frozenset(changed)))

    def _run(self, share: Share, span: Span, troubles: list[Trouble]) -> None:
        """Run a share; in parts, where it is refused and it is to be found out why."""

        def run(part: Span) -> None:
            with self._refusing(()), self._connection.transaction():
                self._run_once(share, part, troubles)

        if not self.searches or troubles:  # then these may be the cause
            self._run_once(share, span, troubles)
            return
        try:
            run_apart(self._connection, share, span, run)
        except Culprits:
            if not troubles:
                raise

    def _run_once(self, share: Share, span: Span, troubles: list[Trouble]) -> None:
        *before, last = self._statements(share)
        for departed in before:
            self._execute(departed, span)
        wished = self._wished(share, span)
        row = self._execute(last if wished is share else self._statements(wished)[-1], span).fetchone()
        assert row is not None
        *kept_out, done, wanted, held = row
        troubles += [_trouble(share, said) for said in held or ()]
        if any(kept_out) and not troubles and self._are_absent(share, span):
            raise Unapplicable("a trigger upstream kept the row out, or gave it another id")
        if done != wanted and not troubles:
            raise Unapplicable(
                "others changed the same row at the same time, or a trigger or policy upstream kept it as it was",
                retry=True,
            )

    def _are_absent(self, share: Share, span: Span) -> bool:
        """Say whether rows are absent though they were inserted; where a trigger put them into another table, they are not."""
        row = self._execute(absent_statement(share).as_string(self._connection), span).fetchone()
        return row is not None and bool(row[0])

    def _spare(self, dying: Sequence[Share], span: Span, troubles: list[Trouble]) -> None:
        """Find the deletes that a constraint of the upstream would carry on to rows which the source did not name."""
        acting = self._acting.over({share.table.name for share in dying})
        if not acting:
            return
        self._connection.execute(statement("apply", "clear_doomed"))
        for share in dying:
            if share.table.row_security:
                self._execute(lock_statement(share).as_string(self._connection), span)
        doomed = sum(self._execute(doom_statement(share).as_string(self._connection), span).rowcount for share in dying)
        for constraint in acting if doomed else ():
            layouts = [share.identity for share in dying if share.table.name == constraint.target]
            troubles += constraint.carried_on(self._connection, layouts, doomed)

    def _statements(self, share: Share) -> list[str]:
        """Give the statements of a share, composed the first time it is seen."""
        name = (
            share.identity, share.reduce, share.updates, share.renames, share.deletes_only, share.late, share.catch_up,
            share.ordered, share.patient, share.wish,
        )  # fmt: skip
        if share.pointed is not None:
            return self._compose(share)
        if name not in self._composed:
            self._composed[name] = self._compose(share)
        return self._composed[name]

    @staticmethod
    def _compose(share: Share) -> list[str]:
        """Compose the statements of a share; quoted by psycopg itself, for libpq, asked piece by piece, takes half as long again."""
        before = [] if share.deletes_only else depart_statements(share)
        before += [lock_statement(share)] if share.ordered else []
        last = delete_statement(share) if share.deletes_only else write_statement(share)
        return [query.as_string(None) for query in (*before, last)]

    def _execute(self, text: str, span: Span) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a composed statement over a span; the marks in it are our own, and what replaces them is numbers."""
        filled = self._path.fill(text).replace(RANGE.as_string(None), span.condition().as_string(None))
        filled = filled.replace(CLOCK.as_string(None), "true" if self.clock_trusted else "false")
        filled = filled.replace("<<limit>>", f"pg_catalog.make_interval(secs => {self.policies.clock_limit})")
        kept = self.few and span == Span()  # many in the same words are planned anew
        cursor = self._connection.execute(sql.SQL(filled), prepare=kept)  # composed by us
        self._path.take_back()
        return cursor


def _trouble(share: Share, said: Sequence[str]) -> Trouble:
    tx, seq, conflict, place, asked = said
    return Trouble(
        tx=int(tx), seq=int(seq), layout=share.identity, conflict=conflict, place=int(place or 0), asked=asked
    )
