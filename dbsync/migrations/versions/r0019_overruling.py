"""Which changes of a batch won over other values here: a restored database passes these on once more."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Note them with the receipt."""
    run_file("0019_overruling")
