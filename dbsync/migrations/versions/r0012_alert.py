"""What is the matter is kept, as somebody was told of it."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the alerts."""
    run_file("0012_alert")
