"""Lives that are over: a node tells its upstream, which takes no batch of them any more."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Add the two tables."""
    run_file("0027_lives_over")
