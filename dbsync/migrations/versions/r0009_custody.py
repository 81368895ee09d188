"""What a middleman has is noted beside what was sent."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the custody notes."""
    run_file("0009_custody")
