"""Keys of nodes that were revoked and let in anew: nobody's any more."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0023"
down_revision = "0020"


def upgrade() -> None:
    """Retire them before the enrolment that followed."""
    run_file("0023_disowned")
