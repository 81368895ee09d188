"""Applying a batch: one upstream transaction that stages it, writes it and records its receipt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import errors, sql

from dbsync.apply import receipts
from dbsync.apply.order import write_order
from dbsync.apply.resolve import target_column, target_table
from dbsync.apply.share import Share
from dbsync.apply.write import delete_statement, depart_statements, write_statement
from dbsync.catalog.inspect import inspect
from dbsync.errors import Interrupted, LinkHalted, Refusal
from dbsync.keys.expression import Sql
from dbsync.model.batch import Batch, Count, Header, Op, Receipt
from dbsync.model.catalog import Catalog
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.postgres import primary
from dbsync.statements import statement

ANALYZE_FROM = 5_000
"""Changes in a batch from which the planner is told how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A range of staged changes, (tx, seq) from after ``low`` up to ``high``; None is open."""

    low: tuple[int, int] | None = None
    high: tuple[int, int] | None = None
    renames: bool = False

    def condition(self) -> Sql:
        """Say the range of the alias ``s``."""
        parts: list[Sql] = [sql.SQL("true")]
        if self.low is not None:
            parts.append(sql.SQL("(s.tx, s.seq) > ({}, {})").format(*map(sql.Literal, self.low)))
        if self.high is not None:
            parts.append(sql.SQL("(s.tx, s.seq) <= ({}, {})").format(*map(sql.Literal, self.high)))
        return sql.SQL(" AND ").join(parts)


class Unapplicable(Exception):
    """A span that could not be written, and what is known of why: it is halved, or it halts the link."""

    def __init__(self, reason: str, *, retry: bool = False, waits_for_row: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry = retry
        self.waits_for_row = waits_for_row


class Applier:
    """Applies batches on one upstream connection (autocommit), knowing nothing of how they got here."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._catalog: Catalog | None = None
        connection.prepare_threshold = None  # a plan made for one change must not meet a hundred thousand
        connection.execute(statement("apply", "session"))
        connection.execute(statement("session", "promise"))
        connection.execute(statement("apply", "make_stage"))
        connection.execute(statement("apply", "store_plainly"))

    def last_receipt(self, node: str, incarnation: UUID) -> Receipt | None:
        """Give the receipt of the newest batch of a node that is committed here."""
        return receipts.last_receipt(self._connection, node, incarnation)

    def apply(self, batch: Batch) -> Receipt:
        """Apply a batch and commit it with its receipt; a batch seen before gives its old receipt.

        Raises LinkHalted when a change cannot be applied, IdentityConflict when another batch had its number; nothing
        of the batch is kept then.
        """
        header = batch.header
        try:
            with self._connection.transaction():
                return self._apply(header, batch.payload)
        except (errors.DeadlockDetected, errors.SerializationFailure) as error:
            raise Interrupted(primary(error), where="upstream") from error
        except LinkHalted:
            self._catalog = None
            raise

    def _apply(self, header: Header, payload: Iterable[bytes]) -> Receipt:
        self._connection.execute(
            statement("apply", "take_turn"), {"node": header.node, "incarnation": str(header.incarnation)}
        )
        self._catalog = None  # a migration since the last batch must not be met with yesterday's columns
        last = self.last_receipt(header.node, header.incarnation)
        digest = self._stage(payload, header.changes)
        known = receipts.seen(last, header, digest)
        if known is not None:
            return known
        self._write_all(header)
        return receipts.record(self._connection, header, digest)

    def _stage(self, payload: Iterable[bytes], changes: int) -> bytes:
        digest = hashlib.sha256()
        with self._connection.cursor() as cursor, cursor.copy(statement("apply", "stage")) as copy:
            for chunk in payload:
                digest.update(chunk)
                copy.write(chunk)
        if changes >= ANALYZE_FROM:
            self._connection.execute(statement("apply", "analyze_stage"))
        return digest.digest()

    def _write_all(self, header: Header) -> None:
        """Write everything at once; if that fails twice (another node may have inserted the same key), in parts."""
        whole = Span()
        for attempt in (1, 2):
            try:
                self._write_safely(header, whole, header.counts)
            except Unapplicable as problem:
                self._catalog = None
                together = problem.reason
                if attempt == 1 and problem.retry:
                    continue
                break
            else:
                return
        self._connection.execute(statement("apply", "index_stage"))
        try:
            self._halve(header, whole)
        except LinkHalted as halted:
            if together not in halted.why:
                halted.why = f"{halted.why}; and all of the batch together: {together}"
            raise

    def _halve(self, header: Header, span: Span) -> None:
        """Write a span in two parts, and a part that fails in two again, down to the change that cannot be written.

        The parts keep the source's order, in which every statement was possible there.
        """
        counts = self._counts(span)
        changes = sum(count.changes for count in counts)
        if changes <= 1:
            self._halt(header, span, counts)
            return
        row = self._connection.execute(
            statement("apply", "middle").format(range=span.condition()), {"half": (changes - 1) // 2}
        ).fetchone()
        assert row is not None
        middle = (row[0], row[1])
        for part in (Span(low=span.low, high=middle), Span(low=middle, high=span.high)):
            try:
                self._write_safely(header, part, self._counts(part))
            except Unapplicable:
                self._halve(header, part)

    def _halt(self, header: Header, span: Span, counts: Sequence[Count]) -> None:
        try:
            self._write_safely(header, span, counts)
        except Unapplicable as problem:
            layout = header.layouts[counts[0].layout]
            halted = LinkHalted(
                f"batch {header.number}: {counts[0].op.name.lower()} of {layout.table} {self._key(layout, span)}"
                " cannot be applied",
                where=f"{header.node} -> {header.link}",
                why=problem.reason,
                hint="mend the cause upstream or at the source; the link goes on by itself",
            )
            halted.waits_for_row = problem.waits_for_row
            raise halted from problem

    def _key(self, layout: Layout, span: Span) -> str:
        """Give the natural key of the first change of a span, for a message."""
        row = self._connection.execute(
            sql.SQL("SELECT image, refs FROM pg_temp.dbsync_stage s WHERE {} LIMIT 1").format(span.condition())
        ).fetchone()
        if row is None or layout.key is None:
            return "(no key)"
        return key_in_words(layout, row[0] or [], row[1] or [])

    def _counts(self, span: Span) -> tuple[Count, ...]:
        rows = self._connection.execute(statement("apply", "counts").format(range=span.condition())).fetchall()
        return tuple(Count(layout=layout, op=Op(op), changes=n, renames=r) for layout, op, n, r in rows)

    def _write_safely(self, header: Header, span: Span, counts: Sequence[Count]) -> None:
        """Write a span under a savepoint, constraints checked before it is kept."""
        try:
            with self._connection.transaction():
                for part in self._segments(header, span, counts):
                    self._write(header, part, counts if part is span else self._counts(part))
        except (psycopg.OperationalError, errors.InsufficientPrivilege):
            raise  # no fault of a row: deadlocks and serialization failures are among these
        except psycopg.Error as error:
            raise Unapplicable(
                describe(error),
                retry=isinstance(error, errors.UniqueViolation),
                # checked at commit in the source: its other end may be in a transaction with a higher last seq
                waits_for_row=isinstance(error, errors.ForeignKeyViolation),
            ) from error
        except Refusal as error:
            raise Unapplicable(str(error)) from error

    def _segments(self, header: Header, span: Span, counts: Sequence[Count]) -> list[Span]:
        tables: dict[object, set[int]] = {}
        for count in counts:
            tables.setdefault(header.layouts[count.layout].table, set()).add(count.layout)
        changing = sorted(i for ids in tables.values() if len(ids) > 1 for i in ids)
        if not changing and not any(count.renames for count in counts):
            return [span]
        self._connection.execute(statement("apply", "index_stage"))
        rows = self._connection.execute(
            statement("apply", "segments").format(range=span.condition()), {"changing": changing}
        ).fetchall()
        found: list[Span] = []
        low = span.low
        for _, _, tx, seq, renames in rows:
            found.append(Span(low=low, high=(tx, seq), renames=renames))
            low = (tx, seq)
        return found

    def _write(self, header: Header, span: Span, counts: Sequence[Count]) -> None:
        """Write one segment: what is referred to first, then what refers to it; deletes the other way round."""
        ops: dict[int, set[Op]] = {}
        for count in counts:
            ops.setdefault(count.layout, set()).add(count.op)
        steps = write_order({layout: header.layouts[layout] for layout in ops}, self._is_required)
        self._connection.execute("SET CONSTRAINTS ALL DEFERRED")
        for step in steps:
            if ops[step.layout] != {Op.DELETE}:
                self._write_share(self._share(header, span, step.layout, ops[step.layout], late=step.late))
        for step in steps:
            if step.late and ops[step.layout] != {Op.DELETE}:
                self._write_share(self._share(header, span, step.layout, ops[step.layout]))
        for step in reversed(steps):
            if Op.DELETE in ops[step.layout]:
                self._delete_share(self._share(header, span, step.layout, ops[step.layout], deletes=True))
        self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def _is_required(self, name: TableName, columns: Sequence[str]) -> bool:
        table = target_table(self._known_catalog(), name)
        return not all(target_column(table, column).nullable for column in columns)

    def _share(
        self,
        header: Header,
        span: Span,
        layout: int,
        ops: set[Op],
        *,
        late: frozenset[TableName] = frozenset(),
        deletes: bool = False,
    ) -> Share:
        return Share(
            identity=layout,
            layout=header.layouts[layout],
            catalog=self._known_catalog(),
            range=span.condition(),
            reduce=ops not in ({Op.INSERT}, {Op.DELETE}),  # then a key occurs once
            updates=Op.UPDATE in ops and not deletes,
            renames=span.renames,
            deletes_only=deletes,
            late=late,
        )

    def _write_share(self, share: Share) -> None:
        for departed in depart_statements(share):
            self._connection.execute(departed)
        row = self._connection.execute(write_statement(share)).fetchone()
        assert row is not None
        self._refuse_missing(share, row[2])

    def _delete_share(self, share: Share) -> None:
        row = self._connection.execute(delete_statement(share)).fetchone()
        assert row is not None
        self._refuse_missing(share, row[1])

    def _refuse_missing(self, share: Share, missing: Sequence[str | None] | None) -> None:
        if missing is None:
            return
        _, _, place, *leaves = missing
        reference = next((r for p, r, _ in share.references if p == int(place or 0)), None)
        if reference is None:
            table, key = leaves
            why = f"there is no {table} {key} upstream, which its generic reference points to"
        elif all(leaf is None for leaf in leaves):
            columns = ", ".join(reference.columns)
            why = f"its {columns} pointed to a row of {reference.target.table} whose key is not known"
        else:
            key = ", ".join(str(leaf) for leaf in leaves)
            why = f"there is no {reference.target.table} ({key}) upstream"
        raise Unapplicable(f"reference_missing: {why}", waits_for_row=True)

    def _known_catalog(self) -> Catalog:
        if self._catalog is None:
            self._catalog = inspect(self._connection)
        return self._catalog


def key_in_words(layout: Layout, image: Sequence[str | None], refs: Sequence[str | None]) -> str:
    """Say a change's natural key: ``(SUBJ-0012, 1000)``.

    >>> from dbsync.model.registration import KeyColumn, KeyTree
    >>> from dbsync.model.names import TableName
    >>> site = TableName("public", "site")
    >>> layout = Layout(
    ...     table=site,
    ...     columns=(("name", "text"), ("code", "text")),
    ...     key=KeyTree(table=site, parts=(KeyColumn(column="code"),)),
    ... )
    >>> key_in_words(layout, ["Gaborone", "40"], [])
    '(40)'
    """
    assert layout.key is not None
    if layout.keyed_by_row_id:
        return f"(row {refs[0]})"
    first_leaf = {reference.columns: first for reference, first in layout.reference_positions()}
    words: list[str] = []
    for part in layout.key.parts:
        if hasattr(part, "column"):
            place = layout.position(part.column)
            words.append(str(image[place - 1]) if place else "?")
        else:
            first = first_leaf[part.columns] - 1
            words.extend(str(leaf) for leaf in refs[first : first + part.target.width])
    return f"({', '.join(words)})"


def describe(error: psycopg.Error) -> str:
    """Say in words why PostgreSQL refused a row: the constraint, the table and the column, never a value."""
    diag = error.diag
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
