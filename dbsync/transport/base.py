"""What every line can do, and what it delivers to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from dbsync.model.batch import Batch, Receipt
from dbsync.model.greeting import Greeting

if TYPE_CHECKING:
    from dbsync.identity.keys import Signed

AGAIN = "type the same again once that is over; what is pending waits safely, and a running service goes on by itself"
"""What to do about a way that is blocked: read by whoever typed a command. The service says its own words."""


class Memory(Protocol):
    """What an upstream remembers of a node: over a line, or as it said on a stick."""

    def last_receipt(self, node: str, incarnation: UUID, link: str) -> Receipt | None:
        """Ask for the receipt of the newest batch that is committed there; None before the first.

        Raises :class:`dbsync.errors.Unreachable` without a route.
        """
        ...


class Transport(Memory, Protocol):
    """A line to an upstream: each batch is answered by its receipt. What carries otherwise is a :class:`dbsync.service.way.Way`."""

    def deliver(self, batch: Batch) -> Receipt:
        """Bring a batch there and its receipt back. A batch that is there already gives its old receipt.

        Raises Unreachable without a route, LinkHalted when a change cannot be applied, IdentityConflict when another
        batch has its number. After any error nothing of the batch is there, or all of it and its receipt.
        """
        ...

    def meet(self, now: Callable[[], datetime]) -> float:
        """Compare the clocks: give by how many seconds ``now`` is ahead of the other side, which remembers it."""
        ...

    def greet(self, node: str, greeting: Greeting) -> None:
        """Tell how this node is. Raises OtherVersion where the other side does not listen to that."""
        ...

    def above(self, node: str, incarnation: UUID, link: str) -> Mapping[str, int | None]:
        """Say up to which batch of one life of a node each tier above has everything; None where it cannot be told."""
        ...

    def tend(self, lineage: UUID) -> Mapping[str, int]:
        """Let what waits in quarantine be tried again; give how many changes of a node wait still, by table."""
        ...

    def bring_list(self, signed: Signed) -> None:
        """Bring a box that was checked here; bringing it again changes nothing."""
        ...


class Destination(Protocol):
    """The far end of a transport: what applies batches and gives receipts."""

    def last_receipt(self, node: str, incarnation: UUID, link: str) -> Receipt | None:
        """Give the receipt of the newest batch of one life of a node, over one link."""
        ...

    def apply(self, batch: Batch) -> Receipt:
        """Apply a batch and commit it together with its receipt."""
        ...

    clock_off: float | None
    """By how many seconds the source's clock is ahead; None where nobody measured it."""

    def now(self) -> datetime:
        """Tell the time there."""
        ...

    def keep_greeting(self, node: str, greeting: Greeting) -> None:
        """Keep how a node is, as it says."""
        ...

    def above(self, node: str, incarnation: UUID, link: str) -> Mapping[str, int | None]:
        """Say up to which batch of one life of a node each tier above has everything; None where it cannot be told."""
        ...

    def tend(self, lineage: UUID) -> Mapping[str, int]:
        """Try again what may go now; give the changes of a node that wait still, by table."""
        ...

    def keep_list(self, signed: Signed) -> None:
        """Keep a box that was checked at a node."""
        ...
