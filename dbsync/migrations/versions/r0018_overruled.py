"""Batches that won over other values here: a restored database passes them on once more."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Note it with the receipt."""
    run_file("0018_overruled")
