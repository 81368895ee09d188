"""Whether a server cleans up after itself: autovacuum, and how far transaction ids are from their end."""

from __future__ import annotations

from collections.abc import Iterator

from dbsync.check.finding import error, warning
from dbsync.check.server import Side
from dbsync.check.side import Session
from dbsync.model.findings import Finding
from dbsync.statements import statement

LATE = 2
"""Times the age at which a vacuum against wraparound should have come."""
DANGEROUS = 1_500_000_000
"""Of some 2.1 billion transactions after which the server takes no more writes."""


def of_vacuum(session: Session, side: Side) -> Iterator[Finding]:
    """Find what keeps dead rows in place: the change log is emptied at one end all the time."""
    yield from _of_autovacuum(session, side)
    yield from _of_age(session, side)


def _of_autovacuum(session: Session, side: Side) -> Iterator[Finding]:
    row = session.execute(statement("health", "autovacuum")).fetchone()
    assert row is not None
    works, kept_out = row
    if not works:
        yield warning(
            "autovacuum_off",
            side,
            "autovacuum is off for the whole server: tables and the change log only grow",
            "ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on; SELECT pg_catalog.pg_reload_conf();",
        )
    if kept_out:
        remedy = " ".join(f"ALTER TABLE {table} RESET (autovacuum_enabled);" for table in kept_out)
        yield warning("autovacuum_off", side, f"autovacuum is switched off for {', '.join(kept_out)}", remedy)


def _of_age(session: Session, side: Side) -> Iterator[Finding]:
    row = session.execute(statement("health", "transaction_ids")).fetchone()
    assert row is not None
    age, limit = row
    if age <= LATE * limit and age < DANGEROUS:
        return
    say = error if age >= DANGEROUS else warning
    what = f"the oldest rows are {age:,} transactions old, and vacuum should have come at {limit:,}: at 2.1 billion writes end"
    yield say(
        "wraparound_near", side, what, "VACUUM (FREEZE);   -- as a superuser; first end old transactions and slots"
    )
