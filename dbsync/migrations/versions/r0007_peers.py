"""Whom a node knows."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add peers, their keys, and batches that come in parts."""
    run_file("0007_peers")
