"""The names that columns have had."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Add the table that remembers them."""
    run_file("0029_column_names")
