"""The direct route: this process itself speaks to the upstream's PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from dbsync.model.batch import Batch, Receipt
from dbsync.model.greeting import Greeting
from dbsync.postgres import translated
from dbsync.transport.base import Destination

if TYPE_CHECKING:
    from dbsync.identity.keys import Signed


class Direct:
    """Hands each batch straight to its destination."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def last_receipt(self, node: str, incarnation: UUID, link: str) -> Receipt | None:
        """Ask the destination."""
        with translated("upstream"):
            return self._destination.last_receipt(node, incarnation, link)

    def deliver(self, batch: Batch) -> Receipt:
        """Let the destination apply the batch."""
        with translated("upstream"):
            return self._destination.apply(batch)

    def meet(self, now: Callable[[], datetime]) -> float:
        """Ask the time there between two looks at our own clock: in the middle of them, as NTP assumes (RFC 5905)."""
        before = now()
        with translated("upstream"):
            there = self._destination.now()
        here = before + (now() - before) / 2
        off = (here - there).total_seconds()
        self._destination.clock_off = off
        return off

    def greet(self, node: str, greeting: Greeting) -> None:
        """Let the destination keep it."""
        with translated("upstream"):
            self._destination.keep_greeting(node, greeting)

    def above(self, node: str, incarnation: UUID, link: str) -> Mapping[str, int | None]:
        """Ask the destination what the tiers above it have."""
        with translated("upstream"):
            return self._destination.above(node, incarnation, link)

    def tend(self, lineage: UUID) -> Mapping[str, int]:
        """Let the destination tend its quarantine."""
        with translated("upstream"):
            return self._destination.tend(lineage)

    def bring_list(self, signed: Signed) -> None:
        """Let the destination keep it."""
        with translated("upstream"):
            self._destination.keep_list(signed)
