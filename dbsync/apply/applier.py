"""Applying a batch: one upstream transaction that stages it, writes it and records its receipt.

What can be written is written at once, by one statement a table. What cannot be goes into quarantine, and the rest is
written as if it had not been there (:mod:`dbsync.apply.attempt`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, LiteralString
from uuid import UUID

import psycopg
import structlog
from psycopg import errors, sql

from dbsync import traces
from dbsync.apply import greetings, lists, passed, receipts
from dbsync.apply.attempt import Attempt
from dbsync.apply.load import Load, Released, no_place
from dbsync.apply.path import SearchPath
from dbsync.apply.plans import Plans
from dbsync.apply.quarantine import Quarantine
from dbsync.apply.segments import count_staged
from dbsync.apply.skew import raw_ids, skew
from dbsync.apply.span import Span
from dbsync.apply.steps import join_steps
from dbsync.apply.turns import Turns
from dbsync.apply.waiting import Waiting
from dbsync.apply.writer import Writer
from dbsync.catalog.former import Former, FormerNames
from dbsync.catalog.inspect import Inspection
from dbsync.errors import Interrupted, LinkHalted, NotAdmitted
from dbsync.model.batch import Batch, Count, Header, Op, Receipt
from dbsync.model.greeting import Greeting
from dbsync.model.policy import Conflict, Policies
from dbsync.pooling import is_dealt, need
from dbsync.postgres import primary
from dbsync.statements import statement
from dbsync.tally import Weighed, count_applied, count_deadlock

if TYPE_CHECKING:
    from dbsync.identity.keys import Signed

ANALYZE_FROM = 5_000
"""Changes in a batch from which the planner is told how many there are."""
PATIENCE = 6
"""Times that a batch is written when others' locks and its own were in a circle."""

CARE = 100
"""Batches for which rows are locked in order, once others were in the way."""

log = structlog.get_logger()


class Applier:
    """Applies batches on one upstream connection (autocommit), knowing nothing of how they got here.

    ``clock_off`` is by how many seconds the sources' clock was found to be off, None where nobody measured it.
    """

    def __init__(self, connection: psycopg.Connection, policies: Policies | None = None) -> None:
        self._connection = connection
        self._policies = policies or Policies()
        self._inspection = Inspection(connection)
        self._names = FormerNames(connection)
        self._writer: Writer | None = None
        self._care = 0
        self._plans = Plans(connection)
        self._turns = Turns(connection)
        self.clock_off: float | None = None
        need(connection, "apply", "session")
        need(connection, "session", "promise")
        self._path = SearchPath(connection)
        self._waiting = Waiting(
            connection=connection,
            policies=self._policies,
            inspection=self._inspection,
            names=self._names,
            transaction=self._transaction,
            write=self._write_again,
        )
        if not is_dealt(connection):
            self._make_tables("DELETE ROWS")

    def last_receipt(self, node: str, incarnation: UUID, link: str) -> Receipt | None:
        """Give the receipt of the newest batch that is committed here of one life of a node, over one link."""
        return receipts.last_receipt(self._connection, node, incarnation, link)

    def receipt(self, header: Header) -> Receipt | None:
        """Give the receipt of the batch that has this number here, None where none has."""
        return receipts.find(self._connection, header)

    def apply(self, batch: Batch, *, alone: bool = False) -> Receipt:
        """Apply a batch and commit it with its receipt; a batch seen before gives its old receipt.

        ``alone`` takes only what its node itself captured, and raises NotAdmitted where others' changes are among it.
        What cannot be applied is in quarantine then. Raises LinkHalted where a table's rule forbids that,
        IdentityConflict when another batch had its number; nothing of the batch is kept then.
        """
        weighed, begun = Weighed(batch.payload), time.monotonic()
        try:
            with traces.of("apply", batch.header) as told, self._transaction():
                receipt, fresh = self._apply(batch.header, weighed, alone=alone)
                told.note(bytes=weighed.size, held=receipt.held)
        except (errors.DeadlockDetected, errors.SerializationFailure) as error:
            raise Interrupted(primary(error), where="upstream") from error
        if fresh:
            seconds = time.monotonic() - begun
            count_applied(batch.header, held=receipt.held, size=weighed.size, seconds=seconds)
        if self._writer is not None:
            self._names.note(self._writer.catalog)
        self._waiting.look_after(batch.header, receipt)
        return receipt

    def now(self) -> datetime:
        """Tell the upstream's time."""
        row = self._connection.execute("SELECT pg_catalog.clock_timestamp()").fetchone()
        assert row is not None
        found: datetime = row[0]
        return found

    def above(self, node: str, incarnation: UUID, link: str) -> Mapping[str, int | None]:
        """Say up to which batch of one life of a node each tier above has everything; None where it cannot be told."""
        return receipts.above(self._connection, node, incarnation, link)

    def keep_greeting(self, node: str, greeting: Greeting) -> None:
        """Keep how a node is, as it says. Who may write here is believed."""
        greetings.keep(self._connection, node, greeting)

    def keep_list(self, signed: Signed) -> None:
        """Keep a box that was checked at a node. Who may write here is believed."""
        lists.keep(self._connection, signed, own=False)

    def tend(self, lineage: UUID) -> Mapping[str, int]:
        """Try again what may go now; give the changes of a node that wait still, by table."""
        self._waiting.look_again()
        rows = self._connection.execute(statement("aside", "waiting_by_table"), {"lineage": lineage}).fetchall()
        return dict(rows)

    def release(
        self, cases: Sequence[int] | None = None, *, source_wins: bool = False, patience: float = 0.0
    ) -> Released:
        """Try cases of the quarantine again, with what waits behind them; None tries all that wait.

        ``source_wins`` applies what waits for a decision as the source has it. One transaction a node, and where rows came
        and went while they waited one a batch before it; a node whose batch is still being applied after ``patience`` seconds
        is left alone.
        """
        policies = self._policies.won_by_source() if source_wins else None
        return self._waiting.release(cases, policies=policies, patience=patience)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Begin a transaction in which there is a stage."""
        with self._connection.transaction():
            if is_dealt(self._connection):
                self._make_tables("DROP")
            yield

    def _make_tables(self, at_commit: LiteralString) -> None:
        then = sql.SQL(at_commit)
        self._connection.execute(statement("apply", "make_stage").format(at_commit=then))
        self._connection.execute(statement("apply", "store_plainly"))
        self._connection.execute(statement("apply", "make_doomed").format(at_commit=then))

    # A batch.

    def _apply(self, header: Header, payload: Iterable[bytes], *, alone: bool = False) -> tuple[Receipt, bool]:
        """Give the receipt, and whether it is a new one."""
        # Staged before the turn is taken: a service that goes silent in the middle of a batch keeps nobody waiting.
        with traces.step("stage"):
            digest = self._stage(payload, header)
        if alone:
            self._refuse_others(header)
        last, met = receipts.meet(self._connection, header)
        known = receipts.seen(last, met.over, header, digest)
        if known is not None:
            return known, False
        receipts.end_lives(self._connection, header)
        dropped = receipts.drop_applied(self._connection, header) if met.has_others else 0
        receipt = receipts.record(self._connection, header, digest, dropped)
        dropped += self._drop_known(header)
        passed.record(self._connection, header)
        returned = self._connection.execute(statement("apply", "returned")).rowcount
        load = Load.of(header)
        self._announce(load)
        with traces.step("write"):
            held = self._insist(load, self._policies, None if dropped or returned else header.counts)
        if met.passes_on and not returned:
            layouts = load.read(self._names.latest).layouts.values()
            passed.claim(self._connection, header, layouts, self._policies, met.newest_conflict, held=bool(held))
        return replace(receipt, held=held), True

    def _drop_known(self, header: Header) -> int:
        """Leave out what is passed on and is here already; its transactions are of this batch all the same."""
        known = passed.drop_known(self._connection, header)
        if known:
            receipts.note_dropped(self._connection, header, known)
        return known

    def _stage(self, payload: Iterable[bytes], header: Header) -> bytes:
        """Bring the payload into the stage; give its hash. What is written is what the header counts, so that must be all."""
        digest = hashlib.sha256()
        try:
            with self._connection.cursor() as cursor, cursor.copy(statement("apply", "stage")) as copy:
                for chunk in payload:
                    digest.update(chunk)
                    copy.write(chunk)
        except errors.UntranslatableCharacter as error:
            raise no_place(header, self._connection.info.parameter_status("server_encoding")) from error
        self._refuse_other_counts(header)
        if header.changes >= ANALYZE_FROM:
            self._connection.execute(statement("apply", "analyze_stage"))
        return digest.digest()

    def _refuse_other_counts(self, header: Header) -> None:
        counted = count_staged(self._connection, Span())
        if set(counted) != set(header.counts):
            staged = sum(count.changes for count in counted)
            raise LinkHalted(
                f"batch {header.number} of {header.node} does not hold what its header says",
                where=header.node,
                why=f"it has {staged:,} changes, and counts {header.changes:,}"
                + (", of other kinds" if staged == header.changes else ""),
                hint="dbsync of both ends may have to be of one version; else this is a bug: please report it",
            )

    def _refuse_others(self, header: Header) -> None:
        row = self._connection.execute(statement("apply", "of_others")).fetchone()
        if row is not None and row[0]:
            raise NotAdmitted(
                f"{header.node} brings changes that others captured",
                where=header.node,
                why="it was not invited as a tier",
                hint=f"dbsync nodes revoke {header.node}   then: dbsync nodes invite {header.node} --passes-on   (at the upstream)",
            )

    def _announce(self, load: Load) -> None:
        self._connection.execute(
            statement("apply", "announce"),
            {"node": load.node, "incarnation": str(load.incarnation), "number": str(load.number)},
            prepare=True,
        )

    def _write_again(self, load: Load, policies: Policies) -> None:
        self._announce(load)
        self._insist(load, policies, halts=False)

    def _insist(
        self, load: Load, policies: Policies, counts: Sequence[Count] | None = None, *, halts: bool = True
    ) -> int:
        """Write all that is staged, again and again where a deadlock undid it: what is staged is still there."""
        for retries in range(PATIENCE):
            try:
                with self._connection.transaction():
                    self._turns.take()
                    held = self._write_all(load, policies, counts, halts=halts)
                break
            except errors.DeadlockDetected:
                log.info("batch_tried_again", node=load.node, batch=load.number, reason="deadlock", retries=retries)
                count_deadlock()
                self._turns.met_others()
                self._care = CARE
                if retries == PATIENCE - 1:
                    raise
        if retries:
            receipts.note_retries(self._connection, load, retries)
        return held

    def _write_all(
        self, load: Load, policies: Policies, counts: Sequence[Count] | None = None, *, halts: bool = True
    ) -> int:
        """Write all that is staged, and hold what cannot be; give how many changes are held.

        ``counts`` tell what is staged, where that is known.
        """
        writer = self._writer_for(policies)
        policies, former = writer.policies, self._names.of(writer.catalog)
        load = load.read(former)
        self._path.open()
        counts = count_staged(self._connection, Span()) if counts is None else counts
        counts = join_steps(self._connection, load, writer.catalog, counts)
        writer.again = not halts
        writer.few = self._plans.kept_for(sum(count.changes for count in counts))
        quarantine = Quarantine(self._connection, load, writer.catalog, policies, halts=halts)
        quarantine.hold_dependents()
        _hold_unfit(load, counts, quarantine, writer, former)
        attempt = Attempt(
            connection=self._connection,
            load=load,
            policies=policies,
            writer=writer,
            quarantine=quarantine,
            again=writer.again,
        )
        attempt.write_all(None if quarantine.held else counts)
        self._care = max(self._care - 1, 0) if self._care or not writer.careful else CARE
        quarantine.note_conflicts()
        return quarantine.count_held() if quarantine.held else 0

    def _writer_for(self, policies: Policies) -> Writer:
        """Give a writer for the tables as they are now: a migration must not be met with yesterday's columns."""
        catalog = self._inspection.now()
        writer = self._writer
        if writer is None or writer.catalog is not catalog or policies is not self._policies:
            rules = self._names.of(catalog).read_rules(policies)
            writer = Writer(self._connection, catalog, rules, self._path)
        if policies is self._policies:
            self._writer = writer
        row = self._connection.execute(statement("apply", "passes_on"), prepare=True).fetchone()
        writer.by_origin = row is not None and bool(row[0])
        writer.careful = self._care > 0
        writer.clock_trusted = self.clock_off is not None and abs(self.clock_off) <= policies.clock_limit
        return writer


def _hold_unfit(load: Load, counts: Sequence[Count], quarantine: Quarantine, writer: Writer, former: Former) -> None:
    """Hold the changes of layouts that the upstream's tables do not fit, and those without a key, their own or another's."""
    ops: dict[int, set[Op]] = {}
    for count in counts:
        ops.setdefault(count.layout, set()).add(count.op)
    for identity, kinds in ops.items():
        layout = load.layouts[identity]
        if layout.key is None:
            reason = "its key could not be told: a table was altered after the triggers were installed"
            quarantine.hold_layout(identity, sorted(kinds), Conflict.UNKEYABLE, reason)
            continue
        for raw in raw_ids(layout, writer.catalog):
            writing = sorted(kinds - {Op.DELETE})
            quarantine.hold_layout(
                identity, writing, Conflict.UNKEYABLE, raw.reason, place=raw.place, awaits_column=raw.column
            )
        found = skew(layout, writer.catalog, writer.policies.of(layout.table).on_skew, former)
        concerned = [] if found is None else [op for op in sorted(kinds) if found.concerns(op)]
        if found is not None and concerned:
            quarantine.hold_layout(
                identity, concerned, Conflict.MISSING_COLUMN, found.reason,
                awaits=found.relation, awaits_column=found.column,
            )  # fmt: skip
