"""Custody: bundles that are made for middlemen, and what they say, signed, to have of this node's batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import psycopg

from dbsync.batch.codec import encode
from dbsync.bundle import files
from dbsync.bundle.custody import Note
from dbsync.bundle.write import write_bundle
from dbsync.config.models import Config
from dbsync.errors import Exhausted
from dbsync.identity.keys import Keys, Signed
from dbsync.model.batch import Batch
from dbsync.postgres import translated
from dbsync.service.held import HeldLink
from dbsync.statements import statement

WHOLE = 1 << 62
"""No bundle for a relay is split."""


def seal(held: HeldLink, batch: Batch, folder: Path, *, config: Config, keys: Keys, also: Sequence[str]) -> Path:
    """Write one batch into a folder of this computer, sealed for the upstream and for who may read it ``also``.

    Gives its file; the signature lies beside it.
    """
    try:
        with translated("source"):
            (path,) = write_bundle(
                folder,
                held.head,
                [(batch.header.number, encode(batch))],
                recipients=[*held.recipients(config), *also],
                keys=keys,
                limit=WHOLE,
            )
    except Exhausted as error:
        if error.where == "source":
            raise
        raise Exhausted(error.what, where=str(folder.parent), why=error.why, hint=files.ROOM_HERE) from error
    return path


def keep(
    connection: psycopg.Connection, *, link: str, incarnation: UUID, relay: str, note: Note, signed: Signed
) -> None:
    """Keep a note for a batch that is on record without a receipt; one for any other is of no use."""
    connection.execute(
        statement("custody", "note"),
        {
            "link": link,
            "incarnation": incarnation,
            "number": note.name.first,
            "relay": relay,
            "at": note.at,
            "note": signed.data,
            "signature": signed.signature,
        },
    )


def noted(connection: psycopg.Connection, *, link: str, incarnation: UUID, relay: str) -> set[int]:
    """Say for which batches of one life there is a note of a relay."""
    asked = {"link": link, "incarnation": incarnation, "relay": relay}
    return {number for (number,) in connection.execute(statement("custody", "noted"), asked).fetchall()}


def forget(connection: psycopg.Connection, link: str) -> None:
    """Let go of the notes for what has its receipt."""
    connection.execute(statement("custody", "forget"), {"link": link})
