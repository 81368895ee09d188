"""What other sessions do to ours, and what a role's own settings do: transactions that stay open, timeouts that are short."""

from __future__ import annotations

from collections.abc import Iterator

from dbsync.check.finding import warning
from dbsync.check.server import Server, Side
from dbsync.check.side import Session, unseen
from dbsync.check.wording import filled, identifier
from dbsync.model.findings import Finding
from dbsync.model.words import ago
from dbsync.statements import statement

SHORTEST = 60_000
"""Milliseconds. What installs, backfills and compares may honestly take that long for one statement."""


def of_transactions(session: Session, side: Side, seconds: float) -> Iterator[Finding]:
    """Find transactions that have been open for longer: nothing that they might still see can be vacuumed away."""
    for pid, role, application, state, age in session.execute(
        statement("health", "open_transactions"), {"seconds": seconds}
    ).fetchall():
        who = f"process {pid} ({role}{f', {application}' if application else ''})"
        what = (
            f"a transaction of {who} is open since {ago(age)}, {state}: no room that purged changes leave is used again"
        )
        yield warning("transaction_long", side, what, f"SELECT pg_catalog.pg_terminate_backend({pid});")
    hidden = session.execute(statement("health", "hidden_sessions")).fetchone()
    if hidden is not None and hidden[0]:
        yield unseen(side, "what other roles' sessions do (as a superuser: GRANT pg_read_all_stats TO ...)")


def of_prepared(session: Session, side: Side, seconds: float) -> Iterator[Finding]:
    """Find transactions that were prepared and then left: they survive a restart, and hold what they locked."""
    rows = session.execute(statement("health", "prepared_transactions"), {"seconds": seconds}).fetchall()
    for gid, age in rows:
        yield warning(
            "transaction_prepared",
            side,
            f"a prepared transaction waits since {ago(age)} for somebody to commit it or roll it back",
            filled("ROLLBACK PREPARED {};   -- or COMMIT PREPARED, if its application says so", gid),
        )


def of_timeouts(session: Session, side: Side, server: Server) -> Iterator[Finding]:
    """Find settings that end long statements. Shipping and applying set their own; installing, backfilling, comparing do not."""
    for name, milliseconds in session.execute(statement("health", "timeouts"), {"least": SHORTEST - 1}).fetchall():
        role, database = identifier(server.role), identifier(server.database)
        yield warning(
            "timeout_short",
            side,
            f"{name} is {ago(milliseconds / 1000)} for role {server.role} here: it cuts installing, backfill and verify",
            f"ALTER ROLE {role} IN DATABASE {database} SET {name} = 0;",
        )
