"""What waits behind a case that is no more becomes a case of its own."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Let go of what nothing would try again."""
    run_file("0023_chains")
