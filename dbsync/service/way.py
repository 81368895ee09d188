"""How a service brings its batches to the upstream and receipts home: over a line that streams, or on a stick that is visited."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from dbsync.changelog.reader import Reader
from dbsync.errors import DbsyncError, Refusal
from dbsync.postgres import translated
from dbsync.service.link import LinkState


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a turn came to, in words for ``status``."""

    state: LinkState
    reason: str | None = None
    changes: int = 0
    """That went now."""
    acknowledged: int = 0
    """Batches whose receipts were there."""
    trouble: DbsyncError | None = None
    """What is wrong with the stick."""


class Way(Protocol):
    """What the service asks of a route. Each takes the batches that have no receipt, and at once or later brings receipts.

    A relay is none: it is met beside any of them, and never instead (see :mod:`dbsync.service.relays`).
    """

    def once(self) -> Seen:
        """Do now all that there is to do, and leave word of it. Raises what stands in the way."""
        ...

    def stay(self) -> Iterator[None]:
        """Do whatever there is to do as it comes; yield whenever nothing is left.

        Ends when told to stop, and when the configuration is another one. Raises what stands in the way; what has no
        receipt then is taken again by the next that stays.
        """
        ...

    def state_of(self, error: DbsyncError) -> LinkState:
        """Say what a link is doing that this error is in the way of."""
        ...


def state_of(error: DbsyncError) -> LinkState:
    """Tell what waiting mends from what somebody has to."""
    return LinkState.UNREACHABLE if error.try_again else LinkState.HALTED


def is_paused(reader: Reader) -> bool:
    """Say whether somebody typed ``dbsync pause``."""
    with translated("source"):
        return reader.paused()


def refuse_if_paused(reader: Reader, label: str) -> None:
    """Raise Refusal where somebody did."""
    if is_paused(reader):
        raise Refusal(
            "shipping is paused",
            where=label,
            why="somebody typed dbsync pause; changes wait safely in the source",
            hint="dbsync resume",
        )
