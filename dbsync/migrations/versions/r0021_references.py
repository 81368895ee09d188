"""Foreign keys that are new to the triggers travel as the keys of the rows they point to."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Keep what each table's key is made of, and let a drifted statement look for new foreign keys."""
    run_file("0021_references")
