"""Shipping over one link: what is pending goes out batch by batch, and each receipt moves the cursor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
        if open_cut is not None and reached == open_cut.number:
            self._deliver(open_cut)

    def ship(self, stop: Callable[[], bool]) -> int:
        """Ship everything pending, until ``stop`` says so; give the number of changes shipped."""
        shipped = 0
        size = self.max_changes
        while not stop():
            with translated("source"):
                cut = self.reader.next_cut(size)
            if cut is None:
                break
            try:
                self._deliver(cut)
            except LinkHalted as halted:
                if not (halted.waits_for_row and self._reach_further(cut)):
                    raise
                size = max(size, cut.changes) * GROWTH
                continue
            shipped += cut.changes
            size = self.max_changes
        return shipped

    def _reach_further(self, cut: Cut) -> bool:
        """Say whether a larger batch is possible, one that may bring the missing row along."""
        if not cut.ends_window:
            return True
        if cut.after_seq != 0:
            return False
        with translated("source"):
            self.reader.refresh()
            wider = self.reader.next_cut(cut.changes * GROWTH)
        return wider is not None and wider.changes > cut.changes

    def _deliver(self, cut: Cut) -> Receipt:
        with translated("source"):
            batch = self.reader.batch(cut)
        receipt = self.transport.deliver(batch)
        with translated("source"):
            self.reader.acknowledge(cut, receipt)
        log.info("batch_applied", link=self.name, batch=cut.number, changes=cut.changes, transactions=cut.transactions)
        return receipt


def set_state(connection: psycopg.Connection, link: str, state: LinkState, reason: str | None = None) -> None:
    """Leave word of a link's state in the source, where ``status`` finds it while the service is stopped."""
    with translated("source"):
        connection.execute(statement("changelog", "open_link"), {"link": link})
        connection.execute(statement("changelog", "set_state"), {"link": link, "state": state.value, "reason": reason})
