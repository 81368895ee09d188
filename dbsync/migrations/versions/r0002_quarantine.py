"""What could not be applied, and the ledger of conflicts."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add quarantine and ledger."""
    run_file("0002_quarantine")
