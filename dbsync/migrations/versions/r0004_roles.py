"""Roles and their rights."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the roles."""
    run_file("0004_roles")
