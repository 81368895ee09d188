"""A comparison goes on from one visit of a stick to the next."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the comparisons."""
    run_file("0015_comparison")
