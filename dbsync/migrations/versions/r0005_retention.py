"""How long acknowledged changes are kept."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add what retention needs."""
    run_file("0005_retention")
