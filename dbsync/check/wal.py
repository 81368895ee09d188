"""What keeps a server's write-ahead log: it fills the disk that the application writes to."""

from __future__ import annotations

from collections.abc import Iterator

from dbsync.check.finding import warning
from dbsync.check.server import Side
from dbsync.check.side import Session
from dbsync.check.wording import filled
from dbsync.model.findings import Finding
from dbsync.model.words import ago, size
from dbsync.statements import statement


def of_wal(session: Session, side: Side) -> Iterator[Finding]:
    """Find slots that nobody reads and an archive that takes nothing; of a primary, for a standby has no say in it."""
    for name, status, kept in session.execute(statement("health", "idle_slots")).fetchall():
        yield warning(
            "wal_kept",
            side,
            f"the replication slot {name} is not read by anybody and keeps {size(kept)} of write-ahead log ({status})",
            filled("SELECT pg_catalog.pg_drop_replication_slot({});   -- if its reader is gone for good", name),
        )
    for failures, since in session.execute(statement("health", "archiver")).fetchall():
        yield warning(
            "wal_archiving_fails",
            side,
            f"archiving the write-ahead log fails, last {ago(since)} ago ({failures:,} times in all): none of it is removed",
            "mend archive_command: the server's log says why it fails",
        )
