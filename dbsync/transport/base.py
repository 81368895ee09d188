"""What every transport can do, and what it delivers to."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from dbsync.model.batch import Batch, Receipt


class Transport(Protocol):
    """A route to an upstream."""

    def last_receipt(self, node: str, incarnation: UUID, link: str) -> Receipt | None:
        """Ask for the receipt of the newest batch that is committed there; None before the first.

        Raises :class:`dbsync.errors.Unreachable` without a route.
        """
        ...

    def deliver(self, batch: Batch) -> Receipt:
        """Bring a batch there and its receipt back. A batch that is there already gives its old receipt.

        Raises Unreachable without a route, LinkHalted when a change cannot be applied, IdentityConflict when another
        batch has its number. After any error nothing of the batch is there, or all of it and its receipt.
        """
        ...


class Destination(Protocol):
    """The far end of a transport: what applies batches and gives receipts."""

    def last_receipt(self, node: str, incarnation: UUID, link: str) -> Receipt | None:
        """Give the receipt of the newest batch of one life of a node, over one link."""
        ...

    def apply(self, batch: Batch) -> Receipt:
        """Apply a batch and commit it together with its receipt."""
        ...
