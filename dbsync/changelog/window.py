"""The window that a reader has before it: one row a transaction, in a temporary table, from which batches are cut."""

from __future__ import annotations

import psycopg

from dbsync.model.batch import Cut, Window
from dbsync.statements import statement

FEW = 1_000
"""Transactions put into the window, deleted ones too, from which on it is emptied and not cleared row by row."""


class FilledWindow:
    """The transactions of a window, on the connection that reads their changes."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._rows = 0
        self._used = 0
        """Rows and deleted rows: both are walked through by whoever looks."""
        self.window: Window | None = None
        """What it holds now; None is nothing that may be gone on with."""
        connection.execute(statement("changelog", "make_window"))

    def snapshot(self) -> str:
        """Give what is visible now, for the end of a window."""
        row = self._connection.execute(statement("changelog", "snapshot")).fetchone()
        assert row is not None
        return str(row[0])

    def fill(self, window: Window, after: int) -> Window:
        """Put the transactions of a window here, those that end after a seq, in place of what was here."""
        if self._rows:
            self._clear()
        self._fill(window, after)
        self.window = window
        return window

    def add(self, window: Window, after: int = 0) -> None:
        """Put the transactions of a further window beside those that are here."""
        self._fill(window, after)

    def _clear(self) -> None:
        anew = self._used >= FEW
        self.window = None
        self._connection.execute(statement("changelog", "empty_window" if anew else "clear_window"))
        self._rows = 0
        self._used = 0 if anew else self._used

    def _fill(self, window: Window, after: int) -> None:
        name = "fill_window_from_beginning" if window.start is None else "fill_window"
        asked = {"start": window.start, "end": window.end, "after": after}
        filled = self._connection.execute(statement("changelog", name), asked).rowcount
        self._rows += filled
        self._used += filled

    def cut(self, window: Window, number: int, after: int, max_changes: int) -> Cut | None:
        """Cut a batch of about ``max_changes`` that begins after a seq; None where nothing is left."""
        if not self._rows:
            return None
        row = self._connection.execute(
            statement("changelog", "next_cut"), {"after": after, "enough": max_changes}
        ).fetchone()
        if row is None or row[0] is None:
            return None
        last, transactions, changes, ends = row
        return Cut(
            number=number,
            window=window,
            after_seq=after,
            last_seq=last,
            transactions=transactions,
            changes=changes,
            ends_window=ends,
        )

    def is_last(self, seq: int) -> bool:
        """Say whether nothing here comes after a seq."""
        row = self._connection.execute(
            "SELECT NOT EXISTS (SELECT FROM pg_temp.dbsync_window WHERE last_seq > %s)", (seq,)
        ).fetchone()
        return row is not None and bool(row[0])
