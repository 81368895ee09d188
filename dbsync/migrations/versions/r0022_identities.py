"""Keys of nodes that were revoked and let in anew are nobody's any more; a database is known under whatever name it comes."""

from __future__ import annotations

from dbsync.schema import run_file

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Retire them before the enrolment that followed, and index receipts by the name as well."""
    run_file("0022_identities")
