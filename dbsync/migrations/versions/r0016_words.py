"""Everything in the schema says what it means."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Comment on every table, view, column and function."""
    run_file("0016_words")
