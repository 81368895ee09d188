"""The lives of a database: restored, copied, reloaded."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add what tells one life of a database from another."""
    run_file("0003_lives")
