"""The pages may show what stands."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Let the role of the pages see it."""
    run_file("0013_alert_web")
