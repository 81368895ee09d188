"""A change is found in the ledger by an index."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the index of what the ledger knows of."""
    run_file("0008_conflict_change")
