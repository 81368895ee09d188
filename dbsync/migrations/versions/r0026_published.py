"""How a publication of all tables names the rows of those of ours that have no primary key."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Say it."""
    run_file("0026_published")
