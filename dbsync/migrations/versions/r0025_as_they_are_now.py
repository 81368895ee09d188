"""A transaction that began before a migration captures its tables as they are now."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Look at tables by what PostgreSQL goes by, and not by what the transaction sees."""
    run_file("0025_as_they_are_now")
