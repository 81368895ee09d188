"""Quarantine: changes that cannot be applied go aside with their reason, and what depends on them waits behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import psycopg
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from dbsync.apply.load import Load, Trouble
from dbsync.apply.names import name_statements, reference_slice
from dbsync.apply.span import Span
from dbsync.apply.undecided import Undecided
from dbsync.errors import LinkHalted
from dbsync.keys.expression import qualified
from dbsync.model.batch import Op
from dbsync.model.catalog import Catalog
from dbsync.model.layout import Layout
from dbsync.model.policy import Conflict, OnError, Policies
from dbsync.pooling import is_dealt
from dbsync.statements import statement

ORDER_MAY_MATTER = (
    Conflict.REFERENCE_MISSING,
    Conflict.MULTIPLE_UNIQUE_CONFLICTS,
    Conflict.STILL_REFERENCED,
    Conflict.EXCLUSION,
    Conflict.REFUSED,
)
"""Found in a part of a transaction, or before other tables are written, these may be gone when the whole of it is there."""


class Quarantine:
    """Takes changes of one load out of the stage. It decides nothing twice: what waits is found by the database."""

    def __init__(
        self, connection: psycopg.Connection, load: Load, catalog: Catalog, policies: Policies, *, halts: bool = True
    ) -> None:
        self._connection = connection
        self._load = load
        self._catalog = catalog
        self._policies = policies
        self._halts = halts
        self._arrival: int | None = None
        self._whole: list[int] = []
        self.held = 0
        """Changes that went aside."""

    def hold_dependents(self) -> None:
        """Hold what depends on changes of this node that wait already."""
        row = self._connection.execute(statement("aside", "anything_waits"), self._lineage, prepare=True).fetchone()
        if row is not None and row[0]:
            self._name()
            self._follow()

    def hold_layout(
        self,
        layout: int,
        ops: Sequence[Op],
        conflict: Conflict,
        reason: str,
        *,
        place: int | None = None,
        **awaits: str | None,
    ) -> None:
        """Hold all changes of a layout, of some kinds, or those with a value in some ``place`` of their images.

        ``awaits`` and ``awaits_column`` say what they wait for.
        """
        self._name()
        self._connection.execute(
            statement("aside", "accuse_layout"),
            {
                "layout": layout,
                "ops": [op.value for op in ops],
                "conflict": conflict.value,
                "reason": reason,
                "place": place,
                "awaits": None,
                "awaits_column": None,
                **awaits,
            },
        )
        self._take_aside()

    def put_behind_renames(self) -> None:
        """Put changes behind the rename that brings the key under which they refer to a row."""
        self._name()
        self._connection.execute(statement("aside", "put_behind_renames"))

    def passes_through(self, span: Span) -> bool:
        """Say whether a row of a span, which is one transaction, has a key that it only has in passing."""
        self._name()
        query = statement("aside", "passes_through").format(range=span.condition())
        row = self._connection.execute(query).fetchone()
        return row is not None and bool(row[0])

    def come_along(self, pointing: Sequence[Trouble], span: Span) -> bool:
        """Say whether a row that some changes point to comes in the same span: then it may be there once that is written."""
        if not pointing:
            return False
        self._name()
        query = statement("aside", "come_along").format(range=span.condition())
        asked = {"tx": [trouble.tx for trouble in pointing], "seq": [trouble.seq for trouble in pointing]}
        row = self._connection.execute(query, asked).fetchone()
        return row is not None and bool(row[0])

    def hold_first(self, span: Span, conflict: Conflict, reason: str, *, whole: bool = False) -> None:
        """Hold the first change of a span; and all of its transaction, where that is to stay ``whole``."""
        self._name()
        if whole:
            self._whole += self._transactions(span)
        self._connection.execute(
            statement("aside", "accuse_all").format(range=span.condition()),
            {"conflict": conflict.value, "reason": reason},
        )
        self._take_aside()

    def hold_troubles(self, troubles: Sequence[Trouble], span: Span) -> None:
        """Hold changes that were found out; of a row's several changes, from the one on that brought the reference."""
        self._name()
        reasons = [self._reason(trouble) for trouble in troubles]
        self._connection.execute(
            statement("aside", "accuse_many"),
            {
                "tx": [t.tx for t in troubles],
                "seq": [t.seq for t in troubles],
                "conflict": [t.conflict for t in troubles],
                "reason": [reason for reason, _ in reasons],
                "awaits": [awaits for _, awaits in reasons],
                "asked": [t.asked if awaits else None for t, (_, awaits) in zip(troubles, reasons, strict=True)],
            },
        )
        if any(trouble.reason is not None for trouble in troubles):
            self._connection.execute(statement("aside", "leave_the_first_of_each_row"))
        for layout, place in sorted({(t.layout, t.place) for t in troubles if t.place}):
            self._blame_the_first(layout, place, span)
        self._connection.execute(statement("aside", "say_what_is_missing"))
        self._take_aside()

    def note_conflicts(self) -> None:
        """Write down the conflicts among what was held: a person is to decide them."""
        if self.held:
            noting = Undecided(connection=self._connection, layouts=self._load.layouts, policies=self._policies)
            noting.note(self._load.lineage)

    def count_held(self) -> int:
        """Count the changes that this load left waiting."""
        row = self._connection.execute(statement("aside", "count_held"), self._lineage).fetchone()
        return int(row[0]) if row is not None else 0

    def suspects(self) -> list[int]:
        """Give the cases of this load that may be none once all the rest is there."""
        rows = self._connection.execute(
            """SELECT q.id FROM dbsync.quarantine q WHERE q.lineage = %(lineage)s AND q.arrival = %(arrival)s
               AND q.state = 'waiting' AND q.behind IS NULL AND q.conflict = ANY (%(kinds)s)""",
            {**self._lineage, "arrival": self._arrival or 0, "kinds": [c.value for c in ORDER_MAY_MATTER]},
        ).fetchall()
        return [row[0] for row in rows]

    # How.

    @property
    def _lineage(self) -> Mapping[str, object]:
        return {"lineage": self._load.lineage}

    def _name(self) -> None:
        """Name what is staged, once: what leaves the stage later is not asked for again."""
        if self._arrival is not None:
            return
        row = self._connection.execute(statement("aside", "arrival")).fetchone()
        assert row is not None
        self._arrival = int(row[0])
        at_commit = sql.SQL("DROP" if is_dealt(self._connection) else "DELETE ROWS")
        self._connection.execute(statement("apply", "index_stage"))
        self._connection.execute(statement("aside", "make_names").format(at_commit=at_commit))
        self._connection.execute(statement("aside", "clear_names"))
        for identity, layout in self._load.layouts.items():
            for query in name_statements(identity, layout, self._catalog, self._arrival):
                self._connection.execute(query)
        self._connection.execute(statement("aside", "analyze_names"))

    def _reason(self, trouble: Trouble) -> tuple[str, str | None]:
        """Say why a change is in trouble, and the table it waits for."""
        layout = self._load.layouts[trouble.layout]
        if trouble.reason is not None:
            return trouble.reason, None
        if trouble.conflict != Conflict.REFERENCE_MISSING:
            return _WORDS[Conflict(trouble.conflict)], None
        if trouble.place > len(layout.references):
            return _generic_reason(layout, trouble), None
        reference = layout.references[trouble.place - 1]
        columns, table = ", ".join(reference.columns), reference.target.table
        return f"its {columns} pointed to a row of {table} whose key is not known", qualified(table)

    def _blame_the_first(self, identity: int, place: int, span: Span) -> None:
        layout = self._load.layouts[identity]
        if place > len(layout.references):
            return
        first, last = reference_slice(layout, place)
        self._connection.execute(
            statement("aside", "accuse_the_first_that_says_so").format(
                layout=sql.Literal(identity),
                first=sql.Literal(first),
                last=sql.Literal(last),
                awaits=sql.Literal(qualified(layout.references[place - 1].target.table)),
                range=span.condition(),
            )
        )

    def _take_aside(self) -> None:
        """Move the accused into quarantine, then whatever depends on them, until nothing more does."""
        since = self._newest_case()
        if self._move():
            self._connection.execute(statement("aside", "settle_causes"), {**self._lineage, "since": since})
            self._connection.execute(statement("aside", "settle_heads"), {**self._lineage, "since": since})
            self._follow(since)

    def _follow(self, since: int = 0) -> None:
        """Hold what depends on cases that came after ``since``, and what depends on that."""
        together = self._whole_transactions()
        while True:
            newest = self._newest_case()
            asked = {**self._lineage, "since": since, "together": together, "whole": self._whole}
            self._connection.execute(statement("aside", "accuse_dependents"), asked)
            if together or self._whole:
                self._connection.execute(statement("aside", "accuse_companions"), asked)
            if not self._move():
                return
            since = newest

    def _transactions(self, span: Span) -> list[int]:
        query = sql.SQL("SELECT DISTINCT s.tx FROM pg_temp.dbsync_stage s WHERE {}").format(span.condition())
        return [row[0] for row in self._connection.execute(query).fetchall()]

    def _newest_case(self) -> int:
        row = self._connection.execute(statement("aside", "newest_case")).fetchone()
        assert row is not None
        return int(row[0])

    def _move(self) -> int:
        layouts = [row[0] for row in self._connection.execute(statement("aside", "tables_of_accused")).fetchall()]
        if not layouts:
            return 0
        self._refuse_to_stop(layouts)
        for identity in layouts:
            self._note_layout(identity, self._load.sent[identity])
        self._connection.execute(
            statement("aside", "hold"),
            {
                "node": self._load.node,
                "lineage": self._load.lineage,
                "incarnation": self._load.incarnation,
                "number": self._load.number,
            },
        )
        self._connection.execute(statement("aside", "hold_again"))
        moved = self._connection.execute(statement("aside", "take_held_out")).rowcount
        self._connection.execute(statement("aside", "clear_accused"))
        self.held += moved
        return moved

    def _whole_transactions(self) -> list[str]:
        """Name the tables whose transactions are held as a whole."""
        tables = {layout.table for layout in self._load.layouts.values()}
        return sorted(qualified(t) for t in tables if self._policies.of(t).on_error is OnError.TRANSACTION)

    def _note_layout(self, identity: int, layout: Layout) -> None:
        self._connection.execute(
            statement("aside", "note_layout"),
            {"id": identity, "relation": qualified(layout.table), "definition": Jsonb(layout.definition())},
        )

    def _refuse_to_stop(self, accused: Sequence[int]) -> None:
        """Halt the link where a table's rule is that nothing of it may go aside."""
        stopping = [i for i in accused if self._policies.of(self._load.layouts[i].table).on_error is OnError.STOP]
        if not (stopping and self._halts):
            return
        row = self._connection.execute(statement("aside", "first_accused"), {"layouts": stopping}).fetchone()
        assert row is not None
        tx, seq, conflict, reason, layout, op = row
        halted = LinkHalted(
            f"batch {self._load.number}: {Op(op).name.lower()} of {self._load.layouts[layout].table}"
            f" {self._key(tx, seq)} cannot be applied",
            where=f"{self._load.node} -> {self._load.link}",
            why=f"{conflict}: {reason}",
            hint="mend the cause upstream or at the source; the link goes on by itself",
        )
        halted.waits_for_row = conflict == Conflict.REFERENCE_MISSING
        raise halted

    def _key(self, tx: int, seq: int) -> str:
        """Give the natural key of a change, for a message."""
        row = self._connection.execute(
            "SELECT array_to_string(n.key, ', ', 'null') FROM pg_temp.dbsync_named n"
            " WHERE n.tx = %s AND n.seq = %s AND NOT n.refers AND NOT n.former",
            (tx, seq),
        ).fetchone()
        return "(no key)" if row is None or row[0] is None else f"({row[0]})"


def _generic_reason(layout: Layout, trouble: Trouble) -> str:
    """Say what a generic reference means; one whose key is empty points to nothing that the node could tell."""
    column = layout.generics[trouble.place - 1 - len(layout.references)].id_column
    if trouble.is_untold:
        return f"its {column} pointed to a row whose key the node could not tell"
    return f"its generic reference {column} points to a row that is not upstream"


def has_turn(connection: psycopg.Connection, lineage: UUID, patience: float) -> bool:
    """Take a node's turn until the transaction ends; say whether it could be had within ``patience`` seconds."""
    asked = {"lineage": str(lineage), "patience": f"{patience}s"}
    if not patience:
        row = connection.execute(statement("aside", "try_turn"), asked).fetchone()
        return row is not None and bool(row[0])
    try:
        with connection.transaction():
            connection.execute(statement("aside", "await_turn"), asked)
    except errors.LockNotAvailable:
        return False
    return True


_WORDS = {
    Conflict.MULTIPLE_UNIQUE_CONFLICTS: "several rows upstream have its key: of the table and of those that inherit from it",
    Conflict.REFUSED: "it changes a number that is GENERATED ALWAYS AS IDENTITY upstream",
    Conflict.INSERT_EXISTS: "a row with this key is upstream already and holds other values",
    Conflict.UPDATE_ORIGIN_DIFFERS: "the same columns were changed upstream meanwhile",
    Conflict.UPDATE_MISSING: "the row is not upstream",
    Conflict.DELETE_ORIGIN_DIFFERS: "the row was changed upstream meanwhile",
    Conflict.DELETE_MISSING: "the row is not upstream",
    Conflict.DELETE_HELD: "deletes of this table wait for a person",
}
