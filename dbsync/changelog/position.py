"""How far a link is: what is acknowledged, and what is under way. Reading it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import psycopg

from dbsync.model.batch import Window
from dbsync.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A batch that left this node and has no receipt."""

    number: int
    window: Window
    joint: str | None
    after_seq: int
    last_seq: int
    transactions: int
    changes: int
    hash: bytes
    """Of its payload; empty where nobody has read it to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a link has been acknowledged."""

    cursor: str | None
    window_end: str | None
    window_seq: int
    last_number: int
    last_hash: bytes
    has_nodes_below: bool = False
    """Batches of other nodes were applied in transactions of this log."""
    has_ended_lives: bool = False
    """The upstream is to be told of lives that are over."""


def position_of(connection: psycopg.Connection, link: str) -> Position | None:
    """Give how far a link has been acknowledged; None for one that never was opened."""
    row = connection.execute(statement("changelog", "link"), {"link": link}).fetchone()
    if row is None:
        return None
    cursor, window_end, window_seq, number, last_hash, has_nodes_below, has_ended_lives = row
    return Position(
        cursor=cursor,
        window_end=window_end,
        window_seq=window_seq,
        last_number=number,
        last_hash=bytes(last_hash),
        has_nodes_below=has_nodes_below,
        has_ended_lives=has_ended_lives,
    )


def under_way(
    connection: psycopg.Connection, link: str, incarnation: UUID, at_most: int | None = None
) -> list[Recorded]:
    """Give the batches of one life that were sent and have no receipt, in the order of their numbers."""
    asked = {"link": link, "incarnation": incarnation, "most": at_most}
    rows = connection.execute(statement("changelog", "unacknowledged"), asked).fetchall()
    return [
        Recorded(
            number=number,
            window=Window(start=start, end=end),
            joint=joint,
            after_seq=after,
            last_seq=last,
            transactions=transactions,
            changes=changes,
            hash=bytes(digest),
        )
        for number, start, end, joint, after, last, transactions, changes, digest in rows
    ]
