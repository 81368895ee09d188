"""Applying a batch: one upstream transaction that stages it, writes it and records its receipt.

What can be written is written at once, by one statement a table. What cannot be goes into quarantine, and the rest is
written as if it had not been there. Where PostgreSQL only says that something is wrong, the batch is halved, in the
source's order, until the change that is wrong stands alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import psycopg
import structlog
from psycopg import errors, sql

from dbsync.apply import passed, receipts
from dbsync.apply.load import Load, Released
from dbsync.apply.quarantine import Quarantine, has_turn
from dbsync.apply.ripe import arrived, parked
from dbsync.apply.skew import skew
from dbsync.apply.span import Span
from dbsync.apply.turns import Turns
from dbsync.apply.writer import Unapplicable, Writer
from dbsync.catalog.inspect import Inspection
from dbsync.errors import Interrupted, LinkHalted, NotAdmitted
from dbsync.keys.expression import qualified
from dbsync.model.batch import Batch, Count, Header, Op, Receipt
from dbsync.model.layout import Layout
from dbsync.model.policy import Conflict, OnError, Policies
from dbsync.postgres import primary
from dbsync.statements import statement

ANALYZE_FROM = 5_000
"""Changes in a batch from which the planner is told how many there are."""
ATTEMPTS = 3
"""Times that the same is written when others may have been in the way."""
PATIENCE = 6
"""Times that a batch is written when others' locks and its own were in a circle."""

FEW = 100
"""Changes up to which the plans of the statements that write them are kept for the next batch as small."""
NEVER = 1 << 30
"""Executions after which a plan is kept; one that is the same for any number of changes is kept from the first on."""
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
        self._writer: Writer | None = None
        self._care = 0
        self._turns = Turns(connection)
        self.clock_off: float | None = None
        connection.prepare_threshold = NEVER  # a plan made for one change must not meet a hundred thousand
        connection.execute(statement("apply", "session"))
        connection.execute(statement("session", "promise"))
        connection.execute(statement("apply", "make_stage"))
        connection.execute(statement("apply", "store_plainly"))
        connection.execute(statement("apply", "make_doomed"))
        connection.execute(statement("aside", "make_names"))

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
        try:
            with self._connection.transaction():
                receipt = self._apply(batch.header, batch.payload, alone=alone)
        except (errors.DeadlockDetected, errors.SerializationFailure) as error:
            raise Interrupted(primary(error), where="upstream") from error
        self._release_arrived({qualified(layout.table) for layout in batch.header.layouts.values()})
        self._release_overdue(before=receipt.applied_at)
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

    def tend(self, lineage: UUID) -> Mapping[str, int]:
        """Try again what may go now; give the changes of a node that wait still, by table."""
        self._release_arrived(None)
        self._release_overdue()
        self._release_parked()
        rows = self._connection.execute(statement("aside", "waiting_by_table"), {"lineage": lineage}).fetchall()
        return dict(rows)

    def release(
        self, cases: Sequence[int] | None = None, *, source_wins: bool = False, patience: float = 0.0
    ) -> Released:
        """Try cases of the quarantine again, with what waits behind them; None tries all that wait.

        ``source_wins`` applies what waits for a decision as the source has it. One transaction a node; a node whose
        batch is still being applied after ``patience`` seconds is left alone.
        """
        policies = self._policies.won_by_source() if source_wins else self._policies
        chosen = None if cases is None else list(cases)
        nodes = self._connection.execute(statement("aside", "waiting_nodes"), {"cases": chosen}).fetchall()
        found = Released()
        done: set[UUID] = set()
        for lineage, node, incarnation in nodes:
            if lineage in done:
                continue
            done.add(lineage)
            load = Load(node=node, lineage=lineage, incarnation=incarnation, number=0, link="", layouts={})
            with self._connection.transaction():
                if has_turn(self._connection, lineage, patience):
                    found += self._release(load, chosen, policies)
                else:
                    found += Released(busy=(node,))
        return found

    # A batch.

    def _apply(self, header: Header, payload: Iterable[bytes], *, alone: bool = False) -> Receipt:
        # Staged before the turn is taken: a service that goes silent in the middle of a batch keeps nobody waiting.
        digest = self._stage(payload, header)
        if alone:
            self._refuse_others(header)
        last, met = receipts.meet(self._connection, header)
        known = receipts.seen(last, header, digest)
        if known is not None:
            return known
        dropped = receipts.drop_applied(self._connection, header) if met.has_others else 0
        dropped += passed.drop_known(self._connection, header)
        receipt = receipts.record(self._connection, header, digest, dropped)
        passed.record(self._connection, header)
        returned = self._connection.execute(statement("apply", "returned")).rowcount
        load = Load.of(header)
        self._announce(load)
        held = self._insist(load, self._policies, None if dropped or returned else header.counts)
        if met.passes_on and not held and not returned:
            passed.claim(self._connection, header, self._policies, met.newest_conflict)
        return replace(receipt, held=held)

    def _stage(self, payload: Iterable[bytes], header: Header) -> bytes:
        """Bring the payload into the stage; give its hash. What is written is what the header counts, so that must be all."""
        digest = hashlib.sha256()
        with self._connection.cursor() as cursor:
            with cursor.copy(statement("apply", "stage")) as copy:
                for chunk in payload:
                    digest.update(chunk)
                    copy.write(chunk)
            staged = cursor.rowcount
        if staged != header.changes:
            raise LinkHalted(
                f"batch {header.number} of {header.node} does not hold what its header says",
                where=header.node,
                why=f"it has {staged:,} changes, and counts {header.changes:,}",
                hint="dbsync of both ends may have to be of one version; else this is a bug: please report it",
            )
        if header.changes >= ANALYZE_FROM:
            self._connection.execute(statement("apply", "analyze_stage"))
        return digest.digest()

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
        self._connection.execute(statement("apply", "open_path"))
        counts = writer.counts(Span()) if counts is None else counts
        writer.few = sum(count.changes for count in counts) <= FEW
        quarantine = Quarantine(self._connection, load, policies, halts=halts)
        quarantine.hold_dependents()
        _hold_unfit(load, counts, quarantine, writer, policies)
        attempt = _Attempt(
            connection=self._connection, load=load, policies=policies, writer=writer, quarantine=quarantine
        )
        attempt.write_all(None if quarantine.held else counts)
        self._care = max(self._care - 1, 0) if self._care or not writer.careful else CARE
        quarantine.note_conflicts()
        return quarantine.count_held() if quarantine.held else 0

    def _writer_for(self, policies: Policies) -> Writer:
        """Give a writer for the tables as they are now: a migration must not be met with yesterday's columns."""
        catalog = self._inspection.now()
        writer = self._writer
        if writer is None or writer.catalog != catalog or policies is not self._policies:
            writer = Writer(self._connection, catalog, policies)
        if policies is self._policies:
            self._writer = writer
        row = self._connection.execute(statement("apply", "passes_on"), prepare=True).fetchone()
        writer.by_origin = row is not None and bool(row[0])
        writer.careful = self._care > 0
        writer.clock_trusted = self.clock_off is not None and abs(self.clock_off) <= policies.clock_limit
        return writer

    # What waits.

    def _release(self, load: Load, cases: list[int] | None, policies: Policies) -> Released:
        lineage = {"lineage": load.lineage}
        if cases is None:
            rows = self._connection.execute(statement("aside", "waiting_cases"), {**lineage, "cases": None}).fetchall()
        else:
            rows = self._connection.execute(statement("aside", "heads_of"), {"cases": cases}).fetchall()
        again = {**lineage, "cases": [row[0] for row in rows]}
        self._connection.execute(statement("aside", "stage_again"), again)
        staged = [row[0] for row in self._connection.execute(statement("aside", "staged_layouts")).fetchall()]
        load = replace(load, layouts=self._layouts(staged))
        tried = self._connection.execute(statement("aside", "count_staged")).fetchone()
        self._announce(load)
        self._insist(load, policies, halts=False)
        released = self._connection.execute(statement("aside", "release")).rowcount
        self._connection.execute(statement("aside", "empty_stage"))
        return Released(released=released, waiting=(tried[0] if tried else 0) - released)

    def _layouts(self, ids: Sequence[int]) -> dict[int, Layout]:
        rows = self._connection.execute(statement("aside", "layouts"), {"ids": list(set(ids))}).fetchall()
        return {identity: Layout.read(definition) for identity, definition in rows}

    def _release_arrived(self, relations: set[str] | None) -> None:
        """Try again what waited for rows that are there now; of some tables, or of all."""
        cases: list[int] = []
        for layout, awaits in self._connection.execute(statement("aside", "awaited"), prepare=True).fetchall():
            if relations is not None and awaits not in relations:
                continue
            meaning = self._layouts([layout])[layout]
            catalog = self._inspection.now()
            query = arrived(layout, meaning, awaits, catalog)
            if query is not None:
                cases += [row[0] for row in self._connection.execute(query).fetchall()]
        if cases:
            self.release(cases)

    def _release_overdue(self, before: datetime | None = None) -> None:
        """Try again what was not tried for a while; only what was held ``before`` a batch, if one is given."""
        overdue = self._connection.execute(statement("aside", "overdue"), {"before": before}, prepare=True).fetchall()
        cases = [row[0] for row in overdue]
        if cases:
            self.release(cases)

    def _release_parked(self) -> None:
        """Try again what waited for a migration, where the tables fit now."""
        waiting = [row[0] for row in self._connection.execute(statement("aside", "parked_layouts")).fetchall()]
        if not waiting:
            return
        fit = parked(self._layouts(waiting), self._inspection.now(), self._policies)
        rows = self._connection.execute(statement("aside", "parked"), {"layouts": fit}).fetchall()
        if rows:
            self.release([row[0] for row in rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """Writing one load: whole, and where that fails in parts."""

    connection: psycopg.Connection
    load: Load
    policies: Policies
    writer: Writer
    quarantine: Quarantine

    def write_all(self, counts: Sequence[Count] | None, *, again: bool = True) -> None:
        """Write everything; when all is written, try once more what may only have come in the wrong order."""
        whole = Span()
        try:
            self._write(whole, counts)
        except Unapplicable as problem:
            self.connection.execute(statement("apply", "index_stage"))
            self._part(whole, problem.counts, problem)
        else:
            return
        suspects = self.quarantine.suspects() if again else []
        if suspects:
            self._try_again(suspects)

    def _write(self, span: Span, counts: Sequence[Count] | None = None) -> None:
        """Write a span but for what goes aside; raise Unapplicable when PostgreSQL refuses it as a whole."""
        attempts = 0
        while counts := counts if counts is not None else self.writer.counts(span):
            try:
                troubles = self.writer.write(self.load, span, counts)
            except Unapplicable as problem:
                attempts += 1
                problem.counts = counts
                if not problem.retry or attempts == ATTEMPTS:
                    raise
                self.writer.careful = True
                continue
            if not troubles:
                return
            self.quarantine.hold_troubles(troubles, span)
            counts = None

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
            self._part(second, self.writer.counts(second), None)
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
        if refused is None:
            try:
                self._write(span, counts)
            except Unapplicable as problem:
                refused = problem
        if refused is not None:
            self.quarantine.hold_first(span, _kind(refused, counts), refused.reason, whole=whole)
            self._write(span)

    def _middle(self, span: Span, half: int) -> int:
        query = statement("apply", "middle").format(range=span.condition(), half=sql.Literal(half))
        row = self.connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def _is_one(self, span: Span, counts: Sequence[Count]) -> bool:
        """Say whether a span is one transaction that is to stay whole.

        A table's rule may say so. And a row must not be left with a key that it has only in passing (a swap).
        """
        tables = {self.load.layouts[count.layout].table for count in counts}
        ruled = any(self.policies.of(table).on_error is OnError.TRANSACTION for table in tables)
        if not ruled and not any(count.renames for count in counts):
            return False
        row = self.connection.execute(
            sql.SQL("SELECT count(DISTINCT s.tx) FROM pg_temp.dbsync_stage s WHERE {}").format(span.condition())
        ).fetchone()
        return row is not None and row[0] == 1 and (ruled or self.quarantine.passes_through(span))

    def _try_again(self, cases: Sequence[int]) -> None:
        self.connection.execute(statement("aside", "empty_stage"))
        self.connection.execute(statement("aside", "stage_again"), {"lineage": self.load.lineage, "cases": list(cases)})
        quarantine = Quarantine(self.connection, self.load, self.policies, halts=False)
        quarantine.hold_dependents()
        replace(self, quarantine=quarantine).write_all(None, again=False)
        self.connection.execute(statement("aside", "release"))


def _hold_unfit(
    load: Load, counts: Sequence[Count], quarantine: Quarantine, writer: Writer, policies: Policies
) -> None:
    """Hold the changes of layouts that the upstream's tables do not fit, and those without a key."""
    ops: dict[int, set[Op]] = {}
    for count in counts:
        ops.setdefault(count.layout, set()).add(count.op)
    for identity, kinds in ops.items():
        layout = load.layouts[identity]
        if layout.key is None:
            reason = "its key could not be told: a table was altered after the triggers were installed"
            quarantine.hold_layout(identity, sorted(kinds), Conflict.UNKEYABLE, reason)
            continue
        found = skew(layout, writer.catalog, policies.of(layout.table).on_skew)
        concerned = [] if found is None else [op for op in sorted(kinds) if found.concerns(op)]
        if found is not None and concerned:
            quarantine.hold_layout(
                identity, concerned, Conflict.MISSING_COLUMN, found.reason,
                awaits=found.relation, awaits_column=found.column,
            )  # fmt: skip


def _kind(problem: Unapplicable, counts: Sequence[Count]) -> Conflict:
    """Name the conflict; a foreign key that refuses a delete is held by the rows that refer to it."""
    if problem.conflict is Conflict.REFERENCE_MISSING and {count.op for count in counts} == {Op.DELETE}:
        return Conflict.STILL_REFERENCED
    return problem.conflict
