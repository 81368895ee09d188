"""People log in to the pages, and what they do there is written down."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add users, sessions and the audit log."""
    run_file("0011_web")
