"""What waits in quarantine, and whether it becomes more."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from dbsync.check.finding import warning
from dbsync.check.side import Session
from dbsync.model.findings import Finding
from dbsync.model.words import ago
from dbsync.statements import statement

MOST = 10_000
"""Cases that are counted; whoever has more knows."""
MANY = 10
"""New cases of one day that are more than somebody's slip."""


def of_quarantine(session: Session, lineage: UUID | None, *, here: bool) -> Iterator[Finding]:
    """Find changes that wait for a person: those of one source, or everybody's."""
    asked = {"lineage": lineage, "most": MOST + 1}
    row = session.execute(statement("health", "quarantine"), asked).fetchone()
    assert row is not None
    waiting, today, yesterday, oldest = row
    if not waiting:
        return
    count = f"more than {MOST:,}" if waiting > MOST else f"{waiting:,}"
    remedy = f"dbsync quarantine list{' --here' if here else ''}"
    if today >= MANY and today > yesterday:
        what = f"the quarantine grows: {today:,} of the {count} changes in it came in the last 24 hours, {yesterday:,} the day before"
        yield warning("quarantine_growing", "upstream", what, remedy)
    else:
        noun = "change waits" if waiting == 1 else "changes wait"
        yield warning(
            "quarantine_waits", "upstream", f"{count} {noun} in quarantine, the oldest since {ago(oldest)}", remedy
        )
