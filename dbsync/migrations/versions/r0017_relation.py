"""Two words that were wrong in what a comparison remembers."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Say how a table is named there."""
    run_file("0017_relation")
