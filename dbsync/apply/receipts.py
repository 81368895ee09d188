"""Receipts: which batches of which node are committed here, and whether the next one follows."""

from __future__ import annotations

from uuid import UUID

import psycopg

from dbsync.errors import IdentityConflict
from dbsync.model.batch import Header, Receipt
from dbsync.statements import statement


def last_receipt(connection: psycopg.Connection, node: str, incarnation: UUID) -> Receipt | None:
    """Give the receipt of the newest batch of a node that is committed here."""
    row = connection.execute(statement("apply", "receipt"), {"node": node, "incarnation": incarnation}).fetchone()
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
    """Record a batch, in the transaction that applies it."""
    row = connection.execute(
        statement("apply", "record_receipt"),
        {
            "node": header.node,
            "incarnation": header.incarnation,
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
