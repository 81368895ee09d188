"""How much room there is: on the disks of a server on this very computer, and in folders of ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from dbsync.check.finding import error, warning
from dbsync.check.server import Server, Side
from dbsync.check.side import Session, unseen
from dbsync.check.wording import identifier
from dbsync.model.findings import Finding
from dbsync.model.words import size
from dbsync.statements import statement

SHARE = 5
"""Of the room that a disk should have, this part is the last: less is an error."""


def of_server_disks(session: Session, side: Side, server: Server, wanted: int) -> Iterator[Finding]:
    """Look at the disks that a server keeps its database on, where it is a server of this computer."""
    if not _is_here(session):
        yield unseen(side, "the server's disk (another computer's)")
        return
    row = session.execute(statement("health", "places")).fetchone()
    assert row is not None
    data, tablespaces = row
    if data is None:
        yield unseen(
            side, f"the server's disk (as a superuser: GRANT pg_read_all_settings TO {identifier(server.role)};)"
        )
    for place in (*([data] if data else []), *tablespaces):
        yield from of_folder(Path(place), side, wanted)


def of_folder(folder: Path, where: str, wanted: int) -> Iterator[Finding]:
    """Look at the disk that a folder is on."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as reason:
        yield unseen(where, f"the disk of {folder} ({(reason.strerror or str(reason)).lower()})")
        return
    if free >= wanted:
        return
    say = error if free < wanted / SHARE else warning
    what = f"{size(free)} are free on the disk of {folder}: a full one stops the application's writes"
    yield say("disk_low", where, what, f"make room there (du -xh {folder} | sort -h | tail), or enlarge the disk")


def _is_here(session: Session) -> bool:
    """Say whether the server runs on this computer, as far as the way to it tells."""
    host = session.info.host
    return host.startswith("/") or host in {"", "localhost", "127.0.0.1", "::1"}
