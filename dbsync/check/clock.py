"""Two clocks that should tell the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from dbsync.check.finding import warning
from dbsync.check.side import Session
from dbsync.model.findings import Finding
from dbsync.model.words import ago
from dbsync.statements import statement


def now(session: Session) -> datetime:
    """Ask a database for the time."""
    row = session.execute(statement("health", "clock")).fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


def of_clocks(source: Session, there: Callable[[], datetime], limit: float) -> Iterator[Finding]:
    """Ask the time there between two looks at the source's clock: in the middle of them, as NTP assumes (RFC 5905)."""
    before = now(source)
    other = there()
    yield from of_clock((before + (now(source) - before) / 2 - other).total_seconds(), limit)


def of_clock(off: float, limit: float, *, measured: str = "") -> Iterator[Finding]:
    """Judge by how many seconds this node's clock is ahead of the upstream's."""
    if abs(off) <= limit:
        return
    side = "ahead of" if off > 0 else "behind"
    what = f"this node's clock is {ago(abs(off))} {side} the upstream's{measured}: nobody can say which change is the newest"
    remedy = f"timedatectl set-ntp true   (where it is wrong; here it is {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)"
    yield warning("clock_skew", "source", what, remedy)
