"""How deep in triggers a change was made: what a transaction is put in its order by."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0025"
down_revision = "0020"


def upgrade() -> None:
    """Add the column, its index, and what exchanges places."""
    run_file("0025_depth")
