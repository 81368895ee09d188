"""Nodes tell of themselves when they are in touch."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add what nodes tell."""
    run_file("0014_greeting")
