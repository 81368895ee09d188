"""How deep in triggers a change was made: what a transaction is put in its order by."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the column, its index, and what exchanges places."""
    run_file("0024_depth")
