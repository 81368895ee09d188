"""The reader of one link: which changes are pending, cut into batches, each read as a stream of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
from psycopg import errors
from psycopg.types.json import Jsonb

from dbsync.changelog import lives
from dbsync.changelog.ahead import MOST, Ahead
from dbsync.changelog.order import put_in_order, untangle
from dbsync.changelog.payload import LARGE, close, read, read_after, stored
from dbsync.changelog.position import Position, Recorded, position_of, under_way
from dbsync.changelog.stitch import stitch, unstitched
from dbsync.changelog.window import FilledWindow
from dbsync.errors import Interrupted, LinkTaken
from dbsync.model.batch import Batch, Count, Cut, Header, Op, Passed, Receipt, Window
from dbsync.model.layout import Layout
from dbsync.pooling import need
from dbsync.postgres import translated
from dbsync.statements import statement

EVERYTHING = 1 << 62
MOST_PASSED = 50_000
"""Transactions of other nodes that one header tells of."""


class Reader:
    """Reads the change log for one link on a connection of its own (autocommit).

    The order of calls: :meth:`claim`, :meth:`unfinished`, then again and again :meth:`next_cut`, :meth:`sending` (or
    :meth:`batch`), :meth:`acknowledge`. A crash between any two of them repeats the batch, byte for byte.
    """

    def __init__(
        self, connection: psycopg.Connection, *, node: str, lineage: UUID, incarnation: UUID, link: str
    ) -> None:
        self._connection = connection
        self._node = node
        self._lineage = lineage
        self._incarnation = incarnation
        self._link = link
        self.filled = FilledWindow(connection)
        """The window before it. Whoever puts another one here says so by ``filled.window = None`` at the end."""
        self._layouts: dict[int, Layout] = {}
        self._max_changes = 0
        self._ahead: Ahead | None = None
        self._seen: tuple[Cut, list[tuple[Any, ...]]] | None = None
        self._idle: str | None = None
        """What was visible when nothing was pending; None after anything else."""
        need(connection, "changelog", "session")
        need(connection, "session", "promise")
        connection.execute(statement("changelog", "open_link"), {"link": link})

    def claim(self, patience: float) -> None:
        """Take the link for this session, waiting ``patience`` seconds for another one that holds it to end."""
        claim = {"link": self._link, "patience": f"{round(patience * 1000)}ms"}
        try:
            with self._connection.transaction():
                self._connection.execute(statement("changelog", "claim"), claim)
        except errors.LockNotAvailable as error:
            raise LinkTaken(self._link) from error

    def position(self) -> Position:
        """Give how far the link has been acknowledged."""
        found = position_of(self._connection, self._link)
        assert found is not None, "the link was opened"
        return found

    @property
    def connection(self) -> psycopg.Connection:
        """Give the session that holds the claim."""
        return self._connection

    def go_on_as(self, incarnation: UUID) -> None:
        """Go on under another incarnation, or from another place of the log: as the link says now."""
        self._incarnation = incarnation
        self.filled.window = None
        self._ahead = self._seen = None

    def unfinished(self) -> Cut | None:
        """Give the first batch that was sent and has no receipt: a crash or a cut line left it, or it is sent again.

        One that another service sent of a life that has ended in the meantime is forgotten: it is cut anew.
        """
        first = next(iter(self.under_way(at_most=1)), None)
        if first is None:
            return None
        if self.position().window_end == first.window.start:
            self._connection.execute(statement("changelog", "close_window"), {"link": self._link})
        return self.again(first)

    def under_way(self, at_most: int | None = None) -> list[Recorded]:
        """Give the batches that were sent and have no receipt, in the order of their numbers."""
        self._connection.execute(statement("lives", "set_aside"))
        return under_way(self._connection, self._link, self._incarnation, at_most)

    def again(self, recorded: Recorded) -> Cut:
        """Give a recorded batch to be read again, its window before the reader."""
        window = Window(start=recorded.window.start, end=recorded.joint or recorded.window.end)
        if self.filled.window != window:
            self.filled.fill(window, recorded.after_seq)
        if recorded.joint is not None:
            self.filled.add(Window(start=recorded.joint, end=recorded.window.end))
            self.filled.window = None
        return Cut(
            number=recorded.number,
            window=recorded.window,
            after_seq=recorded.after_seq,
            last_seq=recorded.last_seq,
            transactions=recorded.transactions,
            changes=recorded.changes,
            ends_window=self.filled.is_last(recorded.last_seq),
            joint=recorded.joint,
        )

    def next_cut(self, max_changes: int, until: str | None = None) -> Cut | None:
        """Cut the next batch of about ``max_changes`` (a transaction is never split); None when nothing is pending.

        What is not visible in the snapshot ``until`` is not pending yet; without one that is now.
        """
        self._max_changes = max_changes
        self._idle = None
        position = self.position()
        window = self.filled.window
        if position.window_end is not None:
            wanted = Window(start=position.cursor, end=position.window_end)
            if window != wanted:
                window = self.filled.fill(wanted, position.window_seq)
            cut = self.filled.cut(window, position.last_number + 1, position.window_seq, max_changes)
            if cut is not None:
                return self.in_order(cut)
            self._connection.execute(statement("changelog", "close_window"), {"link": self._link})
            position = self.position()
        window = self.filled.fill(Window(start=position.cursor, end=until or self.filled.snapshot()), 0)
        cut = self.filled.cut(window, position.last_number + 1, 0, max_changes)
        if cut is None:
            self._idle = window.end
            return None
        self.stitch()
        return self.in_order(cut)

    def is_idle(self) -> bool:
        """Say that nothing was pending at the last look, and that no transaction has ended in this server since then.

        So nothing else that anybody wrote is otherwise either: what a service asks at each look need not be asked.
        """
        return self._idle is not None and self._idle == self.filled.snapshot()

    def forget_further(self, cut: Cut) -> None:
        """Forget the batches that were to be sent again behind one that is to be cut larger."""
        self._connection.execute(statement("lives", "forget_further"), {**self._own, "number": cut.number})

    def wider_cut(self, cut: Cut, max_changes: int) -> Cut | None:
        """Cut anew what could not be applied alone, with what came after the end of its window; None if nothing did.

        Nothing of a window may be left out, and what came later may have lower numbers than what is acknowledged of it:
        a batch that reaches over the end of a window that was begun takes all there is.
        """
        position = self.position()
        if position.window_seq == 0 or position.window_end is None:
            self._connection.execute(statement("changelog", "reopen_window"), {"link": self._link})
            self.filled.window = None
            wider = self.next_cut(max_changes)
        else:
            joint, end = position.window_end, self.filled.snapshot()
            self.filled.fill(Window(start=position.cursor, end=joint), position.window_seq)
            self.filled.add(Window(start=joint, end=end))
            self.stitch()
            self.filled.window = None
            all_of_it = self.filled.cut(Window(start=position.cursor, end=end), cut.number, 0, EVERYTHING)
            wider = all_of_it and self.in_order(replace(all_of_it, after_seq=position.window_seq, joint=joint))
        return wider if wider is not None and wider.changes > cut.changes else None

    def batch(self, cut: Cut, *, previous_hash: bytes | None = None) -> Batch:
        """Record the cut, so that it can be read again, and give its batch; the payload is read while it is used.

        ``previous_hash`` is that of the batch before, where that one is still without a receipt.
        """
        with self._connection.transaction():
            begun = self._connection.execute(
                statement("changelog", "begin_batch" if previous_hash is None else "begin_further"),
                {
                    **self._own,
                    "number": cut.number,
                    "after": cut.after_seq,
                    "start": cut.window.start,
                    "end": cut.joint or cut.window.end,
                },
            )
            self._refuse_unless_moved(begun)
            kinds = self._kinds(cut)
            self._seen = None
            header = self._header(cut, kinds, previous_hash)
            self._connection.execute(
                statement("changelog", "record_cut"),
                {
                    **self._own,
                    "number": cut.number,
                    "start": cut.window.start,
                    "end": cut.window.end,
                    "joint": cut.joint,
                    "after": cut.after_seq,
                    "last": cut.last_seq,
                    "transactions": cut.transactions,
                    "changes": cut.changes,
                    "counts": Jsonb([[str(c.layout), c.op.value, c.changes] for c in header.counts]),
                    "first_captured": header.first_captured,
                    "last_captured": header.last_captured,
                },
            )
        return Batch(header=header, payload=self._payload(cut, large=max(row[6] for row in kinds) >= LARGE))

    @contextmanager
    def sending(self, cut: Cut) -> Iterator[Batch]:
        """Give the batch of a cut for as long as it is under way, and meanwhile read what comes after it.

        Inside, only the payload may be used. Afterwards the connection is free again, however far that was read; and
        :meth:`next_cut` and :meth:`batch` find the next batch ready.
        """
        with translated("source"):
            batch = self.batch(cut)
        ahead = self._ahead = self._begin_ahead(cut)
        sent = False
        try:
            yield batch
            sent = True
        finally:
            close(batch.payload)
            if ahead is not None:
                ahead.end(stop=not sent)
                self._ahead = ahead if sent else None

    def note_hash(self, cut: Cut, digest: bytes) -> None:
        """Remember what a batch was that was read to its end: its receipt may come by another route."""
        self._connection.execute(
            statement("changelog", "note_hash"), {**self._own, "number": cut.number, "hash": digest}
        )

    def paused(self) -> bool:
        """Say whether somebody paused shipping."""
        row = self._connection.execute("SELECT paused_since IS NOT NULL FROM dbsync.node").fetchone()
        return row is not None and bool(row[0])

    def acknowledge(self, cut: Cut, receipt: Receipt) -> None:
        """Move the link's cursor over a batch that its destination has committed."""
        with self._connection.transaction():
            self._connection.execute(
                statement("changelog", "acknowledge"),
                {**self._own, "number": receipt.number, "hash": receipt.hash},
            )
            moved = self._connection.execute(
                statement("changelog", "advance"),
                {
                    **self._own,
                    "number": cut.number,
                    "hash": receipt.hash,
                    "last": cut.last_seq,
                    "end": cut.window.end,
                    "ends": cut.ends_window,
                },
            )
            self._refuse_unless_moved(moved)
        if cut.ends_window:
            self.filled.window = None

    @property
    def _own(self) -> dict[str, object]:
        return {"link": self._link, "incarnation": self._incarnation}

    def _refuse_unless_moved(self, cursor: psycopg.Cursor) -> None:
        if cursor.rowcount != 1:
            raise Interrupted(
                f"another dbsync has moved the link {self._link}", where="source", why="two ship the same changes"
            )

    def stitch(self) -> None:
        """Put the window's transactions in their order, and tell the references whose targets were not there at capture."""
        waiting, nested = unstitched(self._connection)
        if nested:
            with self._connection.transaction():
                put_in_order(self._connection, self._known)
        if not waiting:
            return
        beside = self._ids("siblings")
        with self._connection.transaction():
            stitch(self._connection, self._known(waiting + beside), waiting, beside)

    def in_order(self, cut: Cut) -> Cut:
        """Give a cut that is not on record yet, once what one statement did to one table in several ways is in its order."""
        several = _in_several_ways(self._kinds(cut))
        if several:
            with self._connection.transaction():
                untangle(self._connection, self._known, several, {"after": read_after(cut), "last": cut.last_seq})
        return cut

    def _ids(self, name: str) -> list[int]:
        return [row[0] for row in self._connection.execute(statement("changelog", name)).fetchall()]

    def _known(self, ids: list[int]) -> Mapping[int, Layout]:
        missing = sorted(set(ids) - self._layouts.keys())
        if missing:
            rows = self._connection.execute(statement("changelog", "layouts"), {"ids": missing}).fetchall()
            self._layouts.update({identity: Layout.read(definition) for identity, definition in rows})
        return {identity: self._layouts[identity] for identity in set(ids)}

    def _kinds(self, cut: Cut) -> list[tuple[Any, ...]]:
        """Say how many changes of each kind a cut has, from when, and how large; from reading ahead where that looked."""
        if self._seen is None or self._seen[0] != cut:
            self._seen = (cut, self._look_at(cut))
        return self._seen[1]

    def _look_at(self, cut: Cut) -> list[tuple[Any, ...]]:
        query = statement("changelog", "counts").format(stored=stored())
        return self._connection.execute(query, {"after": read_after(cut), "last": cut.last_seq}).fetchall()

    def _header(self, cut: Cut, kinds: Sequence[tuple[Any, ...]], previous_hash: bytes | None) -> Header:
        counts = tuple(Count(layout=row[0], op=Op(row[1]), changes=row[2], renames=row[3]) for row in kinds)
        position = self.position()
        passed, kept = self._passed(cut) if position.has_nodes_below else ((), ())
        return Header(
            node=self._node,
            lineage=self._lineage,
            incarnation=self._incarnation,
            link=self._link,
            number=cut.number,
            first_seq=read_after(cut),
            last_seq=cut.last_seq,
            transactions=cut.transactions,
            first_captured=min(row[4] for row in kinds),
            last_captured=max(row[5] for row in kinds),
            counts=counts,
            previous_hash=position.last_hash if previous_hash is None else previous_hash,
            layouts=self._known([count.layout for count in counts]),
            passed=passed,
            kept=kept,
            ended=lives.ended(self._connection, self._link) if position.has_ended_lives else (),
        )

    def _passed(self, cut: Cut) -> tuple[tuple[Passed, ...], tuple[int, ...]]:
        """Tell which transactions of a cut hold those of other nodes, and what of them is to be kept above all the same.

        It is the same whenever the batch is read again.
        """
        asked = {"after": read_after(cut), "last": cut.last_seq, "most": MOST_PASSED}
        rows = self._connection.execute(statement("changelog", "passed"), asked).fetchall()
        passed = tuple(
            Passed(tx=tx, lineage=lineage, transactions=tuple(zip(transactions, moments, strict=True)), whole=whole)
            for tx, lineage, whole, transactions, moments, _ in rows
        )
        return passed, tuple(sorted({seq for *_, kept in rows for seq in kept}))

    def _begin_ahead(self, cut: Cut) -> Ahead | None:
        """Prepare to read what follows a cut in its window; it begins when the cut's own payload is read."""
        if cut.ends_window or cut.joint is not None or not self._max_changes:
            return None
        return Ahead(lambda: self._after(cut), lambda after: read(self._connection, after, large=self._is_large(after)))

    def _payload(self, cut: Cut, *, large: bool) -> Iterator[bytes]:
        ready = self._ahead.take(cut) if self._ahead is not None else None
        self._ahead = None
        return self._then_ahead(read(self._connection, cut, large=large) if ready is None else ready)

    def _then_ahead(self, payload: Iterable[bytes]) -> Iterator[bytes]:
        yield from payload
        if self._ahead is not None:
            self._ahead.begin()

    def _after(self, cut: Cut) -> Cut | None:
        """Cut what comes after a batch; not what is so large that it would not be held."""
        after = self.filled.cut(cut.window, cut.number + 1, cut.last_seq, self._max_changes)
        if after is None or after.changes > 2 * self._max_changes:
            return None
        kinds = self._kinds(self.in_order(after))
        return after if sum(row[7] for row in kinds) <= MOST else None

    def _is_large(self, cut: Cut) -> bool:
        return bool(max(row[6] for row in self._kinds(cut)) >= LARGE)


def _in_several_ways(kinds: Sequence[tuple[Any, ...]]) -> list[int]:
    """List the layouts of which rows went and others changed, or got a key in more than one way."""
    ways: dict[int, set[str]] = {}
    for layout, op, _, renames, *_ in kinds:
        ways.setdefault(layout, set()).update((op, "renames") if renames else (op,))
    return [layout for layout, ops in ways.items() if {"D", "I"} <= ops or {"D", "U"} <= ops or {"I", "renames"} <= ops]
