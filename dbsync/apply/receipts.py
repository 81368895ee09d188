"""Receipts: which batches of which node are committed here, and what of the next one is here already."""

from __future__ import annotations

from uuid import UUID

import psycopg

from dbsync.errors import IdentityConflict
from dbsync.model.batch import Header, Receipt
from dbsync.statements import statement


def take_turn(connection: psycopg.Connection, header: Header) -> None:
    """Wait until no other batch of this database, or of a copy of it, is being applied; until the transaction ends."""
    connection.execute(statement("receipts", "take_turn"), {"lineage": str(header.lineage)})


def last_receipt(connection: psycopg.Connection, node: str, incarnation: UUID, link: str) -> Receipt | None:
    """Give the receipt of the newest batch that is committed here of one life of a node, over one link."""
    row = connection.execute(
        statement("receipts", "last"), {"node": node, "incarnation": incarnation, "link": link}
    ).fetchone()
    if row is None:
        return None
    return Receipt(node=node, incarnation=incarnation, number=row[0], hash=bytes(row[1]), applied_at=row[2])


def seen(last: Receipt | None, header: Header, digest: bytes) -> Receipt | None:
    """Give the old receipt of a batch that is here already, None for the one that is next.

    Raises IdentityConflict for a batch that does not follow, or that has a known number and other content.
    """
    if last is not None and last.number >= header.number:
        if last.number == header.number and last.hash == digest:
            return last
        raise IdentityConflict(
            f"batch {header.number} of {header.node} was applied here with other content",
            where="upstream",
            why="two databases send as the same node and incarnation: one is a copy of the other",
        )
    expected = 1 if last is None else last.number + 1
    if header.number != expected or (last is not None and last.hash != header.previous_hash):
        raise IdentityConflict(
            f"batch {header.number} of {header.node} does not follow batch {expected - 1} here",
            where="upstream",
            why="the source was restored or copied, or the upstream went back in time",
        )
    return None


def record(connection: psycopg.Connection, header: Header, digest: bytes) -> Receipt:
    """Record a batch and the transactions it holds, in the transaction that applies it.

    To be called when it is staged, before anything leaves the stage.
    """
    row = connection.execute(
        statement("receipts", "record"),
        {
            **_identity(header),
            "node": header.node,
            "number": header.number,
            "hash": digest,
            "changes": header.changes,
            "first_captured": header.first_captured,
            "last_captured": header.last_captured,
        },
    ).fetchone()
    assert row is not None
    return Receipt(
        node=header.node, incarnation=header.incarnation, number=header.number, hash=digest, applied_at=row[0]
    )


def drop_applied(connection: psycopg.Connection, header: Header) -> int:
    """Take out of the stage what another life of the node, or another of its links, brought before; give how many changes.

    A transaction is known for ever by the lineage, its last number and the moment of that change. Whoever applies holds
    the lineage's turn: two lives never bring the same transaction at the same moment.
    """
    row = connection.execute(statement("receipts", "has_other_lives"), _identity(header)).fetchone()
    if row is None or not row[0]:
        return 0
    dropped = connection.execute(statement("receipts", "drop_applied"), _identity(header)).rowcount
    if dropped:
        noted = {**_identity(header), "node": header.node, "number": header.number, "dropped": dropped}
        connection.execute(statement("receipts", "note_dropped"), noted)
    return dropped


def _identity(header: Header) -> dict[str, object]:
    return {"lineage": header.lineage, "incarnation": header.incarnation, "link": header.link}
