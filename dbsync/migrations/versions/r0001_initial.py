"""The change log, its cursors, receipts and row keys."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first dbsync schema."""
    run_file("0001_initial")
