"""Shipping over one link: what is pending goes out batch by batch, and each receipt moves the cursor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import psycopg
import structlog

from dbsync.changelog.reader import Reader
from dbsync.errors import IdentityConflict, LinkHalted
from dbsync.model.batch import Cut, Receipt
from dbsync.postgres import translated
from dbsync.service.node import Node
from dbsync.statements import statement
from dbsync.transport.base import Transport

GROWTH = 8
"""A batch that waits for a row which a later one brings is cut so many times larger."""

log = structlog.get_logger()


class LinkState(StrEnum):
    """What a link is doing, for ``status``."""

    NEW = "new"
    STREAMING = "streaming"
    UNREACHABLE = "unreachable"
    HALTED = "halted"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(slots=True, kw_only=True)
class Link:
    """One node's route to one upstream: the reader at this end, the transport to the other."""

    node: Node
    name: str
    reader: Reader
    transport: Transport
    max_changes: int
    _open: Cut | None = field(default=None, init=False)
    """A batch that was recorded and has no receipt. It may be on its way into the upstream even now: nothing else may be
    sent under its number until it was refused."""

    def settle(self) -> None:
        """Agree with the upstream on what it has, and finish the batch that a crash or a cut line left open.

        Raises IdentityConflict when the upstream knows another past than this source.
        """
        with translated("source"):
            position = self.reader.position()
            open_cut = self.reader.unfinished()
        last = self.transport.last_receipt(self.node.name, self.node.incarnation)
        reached = last.number if last else 0
        known = reached == position.last_number and (last is None or last.hash == position.last_hash)
        if not known and not (open_cut is not None and reached == open_cut.number):
            raise IdentityConflict(
                f"the upstream has batches of {self.node.name} up to {reached}, this source has receipts up to"
                f" {position.last_number}",
                where=self.name,
                why="this database or the upstream was restored from a backup, or a copy of it sends as well",
                hint="dbsync verify   (shows what differs); nothing is sent until this is decided",
            )
        self._open = open_cut
        if open_cut is not None and reached == open_cut.number:
            self._deliver(open_cut)

    def ship(self, stop: Callable[[], bool]) -> int:
        """Ship everything pending, until ``stop`` says so; give the number of changes shipped."""
        shipped = 0
        wider: Cut | None = None
        while not stop():
            cut = wider or self._open or self._next_cut(self.max_changes)
            if cut is None:
                break
            try:
                self._deliver(cut)
            except LinkHalted as halted:
                wider = self._wider(cut) if halted.waits_for_row else None
                if wider is None:
                    raise
                continue
            wider = None
            shipped += cut.changes
        return shipped

    def _next_cut(self, max_changes: int) -> Cut | None:
        with translated("source"):
            return self.reader.next_cut(max_changes)

    def _wider(self, cut: Cut) -> Cut | None:
        """Cut a larger batch, one that may bring the missing row along; None when there is nothing more."""
        size = max(self.max_changes, cut.changes) * GROWTH
        if not cut.ends_window:
            return self._next_cut(size)
        with translated("source"):
            return self.reader.wider_cut(cut, size)

    def _deliver(self, cut: Cut) -> Receipt:
        with translated("source"):
            batch = self.reader.batch(cut)
        receipt = self.transport.deliver(batch)
        with translated("source"):
            self.reader.acknowledge(cut, receipt)
        self._open = None
        log.info("batch_applied", link=self.name, batch=cut.number, changes=cut.changes, transactions=cut.transactions)
        return receipt


def set_state(connection: psycopg.Connection, link: str, state: LinkState, reason: str | None = None) -> None:
    """Leave word of a link's state in the source, where ``status`` finds it while the service is stopped."""
    with translated("source"):
        connection.execute(statement("changelog", "open_link"), {"link": link})
        connection.execute(statement("changelog", "set_state"), {"link": link, "state": state.value, "reason": reason})
