"""What was found in a box is kept, and travels."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the lists."""
    run_file("0010_lists")
