"""Reading ahead: the next batch's bytes come out of the source while the upstream still works on the one before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing

import psycopg

from dbsync.errors import DbsyncError
from dbsync.model.batch import Cut

MOST = 1 << 24
"""Bytes that are held; a batch with more is read again when its turn comes, as it goes out."""


class Ahead:
    """One batch, read in a thread on the reader's connection; nobody else may use that until :meth:`end`.

    ``cut`` cuts the batch and ``read`` reads it. What goes wrong here leaves nothing behind: it goes wrong again, and is
    told, where the batch itself is read.
    """

    def __init__(self, cut: Callable[[], Cut | None], read: Callable[[Cut], Generator[bytes]]) -> None:
        self._cut = cut
        self._read = read
        self._thread = threading.Thread(target=self._run, name="reading ahead", daemon=True)
        self._stop = threading.Event()
        self._found: tuple[Cut, list[bytes]] | None = None

    def begin(self) -> None:
        """Begin to read."""
        self._thread.start()

    def end(self, *, stop: bool) -> None:
        """Come back when the thread has ended, at once where it is told to ``stop``."""
        if stop:
            self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def take(self, cut: Cut) -> list[bytes] | None:
        """Give the payload of a batch, once, if it is the one that was read; all of its chunks or nothing."""
        found, self._found = self._found, None
        return found[1] if found is not None and found[0] == cut else None

    def _run(self) -> None:
        try:
            cut = self._cut()
            if cut is not None and not self._stop.is_set():
                self._keep(cut)
        except (psycopg.Error, DbsyncError):
            self._found = None

    def _keep(self, cut: Cut) -> None:
        chunks: list[bytes] = []
        held = 0
        with closing(self._read(cut)) as payload:
            for chunk in payload:
                chunks.append(chunk)
                held += len(chunk)
                if held > MOST or self._stop.is_set():
                    return
        self._found = (cut, chunks)
