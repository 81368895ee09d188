"""Checked boxes as they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from dbsync.errors import FormatError
from dbsync.statements import statement

if TYPE_CHECKING:
    from dbsync.identity.keys import Signed


def keep(connection: psycopg.Connection, signed: Signed, *, own: bool, by: str | None = None) -> bool:
    """Keep a list; say whether it was not here yet. Raises FormatError for what is none, and where another list has its id.

    ``by`` is the name that its node has now, which may be another than it had when it signed.
    """
    from dbsync.identity.lists import told_list  # noqa: PLC0415 - it takes long to import, and few nodes check boxes

    found = told_list(signed.data)
    kept = {"id": found.id, "by": by or found.by, "at": found.at, "paper": signed.data, "signature": signed.signature}
    if connection.execute(statement("lists", "keep"), {**kept, "own": own}).rowcount == 1:
        return True
    row = connection.execute(statement("lists", "is_same"), {**kept, "signed_as": found.by}).fetchone()
    if row is None or not row[0]:
        raise FormatError(
            f"another list has the id {found.id} here",
            where=found.by,
            why="whoever signs a list chooses its id, and somebody chose the same: this one was not kept",
            hint="check the box again: a list that is saved anew has another id. dbsync lists   (shows what is here)",
        )
    return False
