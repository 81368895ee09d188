"""The direct route: this process itself speaks to the upstream's PostgreSQL."""

from __future__ import annotations

from uuid import UUID

from dbsync.model.batch import Batch, Receipt
from dbsync.postgres import translated
from dbsync.transport.base import Destination


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
