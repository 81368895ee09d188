"""What a tier passes on of its nodes."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add what tells the tier above whose transactions are passed on."""
    run_file("0006_passed")
