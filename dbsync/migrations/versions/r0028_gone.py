"""Rows that are gone, to which generic references still point."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Add the function that knows their ids."""
    run_file("0028_gone")
