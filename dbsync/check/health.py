"""How a server fares that one end of a link is on, whatever dbsync does there."""

from __future__ import annotations

from collections.abc import Iterator

from dbsync.check.disk import of_server_disks
from dbsync.check.server import Server, Side
from dbsync.check.sessions import of_prepared, of_timeouts, of_transactions
from dbsync.check.side import Session
from dbsync.check.vacuum import of_vacuum
from dbsync.check.wal import of_wal
from dbsync.config.limits import CheckConfig
from dbsync.model.findings import Finding


def of_health(session: Session, side: Side, server: Server, limits: CheckConfig) -> Iterator[Finding]:
    """Find what will stop the application's writes one day, or cut dbsync's work: sessions, vacuum, the log, the disk."""
    yield from of_transactions(session, side, limits.long_transaction_seconds)
    yield from of_prepared(session, side, limits.long_transaction_seconds)
    yield from of_timeouts(session, side, server)
    yield from of_vacuum(session, side)
    if not server.in_recovery:
        yield from of_wal(session, side)
    yield from of_server_disks(session, side, server, limits.free_bytes)
