"""Counting what is done, where somebody may ask for it: then :func:`begin` was called, and else it costs nothing.

The library behind :mod:`dbsync.meters` takes as long to import as all that ships a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dbsync.model.batch import Header, Receipt

if TYPE_CHECKING:
    from dbsync.meters import Counted

_counted: type[Counted] | None = None


def begin() -> None:
    """Count from here on."""
    global _counted  # noqa: PLW0603 - a process counts or does not
    from dbsync.meters import Counted  # noqa: PLC0415 - see above

    _counted = Counted


@dataclass(slots=True)
class Weighed:
    """Chunks of bytes that are counted as they are taken."""

    chunks: Iterable[bytes]
    size: int = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.size += len(chunk)
            yield chunk


def count_shipped(header: Header, receipt: Receipt, *, size: int, seconds: float) -> None:
    """Count a batch that went over a line and has its receipt."""
    if _counted is None:
        return
    of = (header.node, header.link)
    _counted.SHIPPED_BATCHES.labels(*of).inc()
    _counted.SHIPPED_CHANGES.labels(*of).inc(header.changes)
    _counted.SHIPPED_BYTES.labels(*of).inc(size)
    _counted.SHIPPED_HELD.labels(*of).inc(receipt.held)
    _counted.SHIPPED_SECONDS.labels(*of).observe(seconds)


def count_applied(header: Header, *, held: int, size: int, seconds: float) -> None:
    """Count a batch that was applied and committed here, now and for the first time."""
    if _counted is None:
        return
    _counted.APPLIED_BATCHES.labels(header.node).inc()
    _counted.APPLIED_CHANGES.labels(header.node).inc(header.changes)
    _counted.APPLIED_BYTES.labels(header.node).inc(size)
    _counted.APPLIED_HELD.labels(header.node).inc(held)
    _counted.APPLIED_SECONDS.observe(seconds)


def count_deadlock() -> None:
    """Count a batch that is written again."""
    if _counted is not None:
        _counted.APPLIED_RETRIES.inc()


def count_carried(node: str, link: str, by: str, changes: int) -> None:
    """Count changes that left on a stick or with a relay."""
    if _counted is not None:
        _counted.CARRIED.labels(node, link, by).inc(changes)


def count_pause(node: str, link: str) -> None:
    """Count a pause before another try."""
    if _counted is not None:
        _counted.RETRIES.labels(node, link).inc()


def note_drifted(node: str, tables: int) -> None:
    """Note how many tables have triggers that could not be renewed."""
    if _counted is not None:
        _counted.DRIFTED.labels(node).set(tables)


def count_request(operation: str, status: int) -> None:
    """Count an answer over HTTP."""
    if _counted is not None:
        _counted.REQUESTS.labels(operation, status).inc()


def note_clock(node: str, ahead: float) -> None:
    """Note by how many seconds a node's clock is ahead of ours."""
    if _counted is not None:
        _counted.PEER_CLOCK.labels(node).set(ahead)


def count_delivered() -> None:
    """Count a bundle that a relay brought to the upstream."""
    if _counted is not None:
        _counted.RELAY_DELIVERED.inc()


def note_visit(upstream: str, at: datetime) -> None:
    """Note that a relay was at its upstream."""
    if _counted is not None:
        _counted.RELAY_VISIT.labels(upstream).set(at.timestamp())


def note_left(letters: Mapping[str, int]) -> None:
    """Note what lies at the broker, by node; a node that is not named has nothing there any more."""
    if _counted is None:
        return
    _counted.BROKER_LETTERS.clear()
    for node, number in letters.items():
        _counted.BROKER_LETTERS.labels(node).set(number)
