"""Receipts of this life, by node and number: how far the tier above is, is asked at each contact."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the index."""
    run_file("0020_above")
