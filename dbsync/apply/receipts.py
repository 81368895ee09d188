"""Receipts: which batches of which node are committed here, and what of the next one is here already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from dbsync.apply.load import Load
from dbsync.errors import IdentityConflict
from dbsync.model.batch import UNKNOWN, Ended, Header, Receipt
from dbsync.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a batch meets here."""

    has_others: bool
    """The node under another name, another life or link of it, or another tier has brought transactions of it."""
    passes_on: bool
    """Changes are captured here, for a tier above."""
    newest_conflict: int
    """Where the ledger ends before the batch."""
    over: Ended | None
    """The life of the batch, where its node has said that it is over."""


def take_turns(connection: psycopg.Connection, header: Header) -> None:
    """Wait until nobody else applies what this batch may hold; until the transaction ends.

    That is another batch of the same database or of a copy of it, and of each node whose changes it passes on. In one
    order, so that two batches never wait for each other.
    """
    for lineage in sorted({str(header.lineage), *(str(passed.lineage) for passed in header.passed)}):
        connection.execute(statement("receipts", "take_turn"), {"lineage": lineage}, prepare=True)


def last_receipt(connection: psycopg.Connection, node: str, incarnation: UUID, link: str) -> Receipt | None:
    """Give the receipt of the newest batch that is committed here of one life of a node, over one link."""
    return _receipt(_ask_last(connection, node, incarnation, link), node, incarnation)


def newest(connection: psycopg.Connection, node: str) -> list[tuple[str, Receipt]]:
    """Give the newest receipt of each life and link of a node, by the link's name.

    And behind them of each that is over one for the last batch that is not taken any more, with a hash that no batch has:
    a database that lives such a life still, being a copy or restored, finds out by it.
    """
    rows = connection.execute(
        statement("receipts", "newest").format(told=statement("receipts", "told")), {"node": node}
    ).fetchall()
    here = {(incarnation, link): number for incarnation, link, number, *_ in rows}
    rows += [
        (incarnation, link, number, UNKNOWN, at)
        for incarnation, link, number, at in connection.execute(
            statement("receipts", "all_over"), {"node": node}
        ).fetchall()
        if number > here.get((incarnation, link), 0)
    ]
    return [
        (link, Receipt(node=node, incarnation=incarnation, number=number, hash=bytes(digest), applied_at=at))
        for incarnation, link, number, digest, at in rows
    ]


def above(connection: psycopg.Connection, node: str, incarnation: UUID, link: str) -> dict[str, int | None]:
    """Say up to which batch of one life of a node each tier above this one has everything; None where it cannot be told."""
    asked = {"node": node, "incarnation": incarnation, "link": link}
    return dict(connection.execute(statement("receipts", "above"), asked).fetchall())


def find(connection: psycopg.Connection, header: Header) -> Receipt | None:
    """Give the receipt of the batch that has a header's number here; what was in that one only its hash says."""
    asked = {"node": header.node, "incarnation": header.incarnation, "link": header.link, "number": header.number}
    return _receipt(connection.execute(statement("receipts", "one"), asked), header.node, header.incarnation)


def _ask_last(
    connection: psycopg.Connection, node: str, incarnation: UUID, link: str
) -> psycopg.Cursor[tuple[Any, ...]]:
    asked = {"node": node, "incarnation": incarnation, "link": link}
    return connection.execute(statement("receipts", "last"), asked, prepare=True)


def _receipt(found: psycopg.Cursor[tuple[Any, ...]], node: str, incarnation: UUID) -> Receipt | None:
    row = found.fetchone()
    if row is None:
        return None
    return Receipt(node=node, incarnation=incarnation, number=row[0], hash=bytes(row[1]), applied_at=row[2])


def over(connection: psycopg.Connection, header: Header) -> Ended | None:
    """Say up to which batch nothing more is taken of the life of a batch; None where that goes on."""
    row = connection.execute(statement("receipts", "over"), _identity(header)).fetchone()
    return _over(header, *row) if row else None


def _over(header: Header, number: int | None, digest: bytes | None) -> Ended | None:
    if number is None or digest is None:
        return None
    return Ended(incarnation=header.incarnation, number=number, hash=bytes(digest))


def end_lives(connection: psycopg.Connection, header: Header) -> None:
    """Keep which lives of its node are over, as a batch says. What comes of them was captured before what is here."""
    if header.ended:
        told = {
            "incarnations": [life.incarnation for life in header.ended],
            "numbers": [life.number for life in header.ended],
            "hashes": [life.hash for life in header.ended],
        }
        connection.execute(statement("receipts", "end_lives"), {**_identity(header), **told})


def seen(last: Receipt | None, over: Ended | None, header: Header, digest: bytes) -> Receipt | None:
    """Give the old receipt of a batch that is here already, None for the one that is next.

    Raises IdentityConflict for a batch that does not follow, that has a known number and other content, or that is of a
    life which is ``over``.
    """
    if last is not None and last.number >= header.number:
        if last.number == header.number and last.hash == digest:
            return last
        raise IdentityConflict(
            f"batch {header.number} of {header.node} was applied here with other content",
            where="upstream",
            why="two databases send as the same node and incarnation: one is a copy of the other",
        )
    if over is not None and header.number <= over.number:
        raise IdentityConflict(
            f"batch {header.number} of {header.node} is of a life that is over",
            where="upstream",
            why="this upstream went back in time, and what it lost of that life came again in another one, or is to be compared",
            hint="dbsync verify --repair   (at the node: sends what differs)",
        )
    before: Receipt | Ended | None = last
    if over is not None and (last is None or last.number < over.number):
        before = over
    expected = 1 if before is None else before.number + 1
    if header.number != expected or (before is not None and before.hash != header.previous_hash):
        raise IdentityConflict(
            f"batch {header.number} of {header.node} does not follow batch {expected - 1} here",
            where="upstream",
            why="the source was restored or copied, or the upstream went back in time",
        )
    return None


def meet(connection: psycopg.Connection, header: Header) -> tuple[Receipt | None, Surroundings]:
    """Wait for the turn, then ask all that decides how a batch is received: its last receipt, and what is around it.

    One round trip; each statement sees what was committed before it began, and thus all that came before the turn.
    """
    with connection.pipeline():
        take_turns(connection, header)
        last = _ask_last(connection, header.node, header.incarnation, header.link)
        around = connection.execute(statement("receipts", "surroundings"), _identity(header), prepare=True)
    row = around.fetchone()
    assert row is not None
    has_others, passes_on, newest_conflict, *ended = row
    met = Surroundings(
        has_others=has_others, passes_on=passes_on, newest_conflict=newest_conflict, over=_over(header, *ended)
    )
    return _receipt(last, header.node, header.incarnation), met


def drop_applied(connection: psycopg.Connection, header: Header) -> int:
    """Take out of the stage what came before under another name of the node, by another life, link or tier.

    Gives how many changes that were. A transaction is known for ever by the lineage, its last number and the moment of
    that change. Whoever applies holds the lineage's turn: two never bring the same transaction at the same moment.
    """
    return connection.execute(statement("receipts", "drop_applied"), _identity(header)).rowcount


def record(connection: psycopg.Connection, header: Header, digest: bytes, dropped: int) -> Receipt:
    """Record a batch and the transactions it brings, in the transaction that applies it.

    To be called when what is here already has left the stage, and nothing else has: it holds ``dropped`` changes fewer.
    """
    row = connection.execute(
        statement("receipts", "record"),
        {
            **_identity(header),
            "number": header.number,
            "hash": digest,
            "changes": header.changes,
            "dropped": dropped,
            "first_captured": header.first_captured,
            "last_captured": header.last_captured,
        },
    ).fetchone()
    assert row is not None
    return Receipt(
        node=header.node, incarnation=header.incarnation, number=header.number, hash=digest, applied_at=row[0]
    )


def note_dropped(connection: psycopg.Connection, header: Header, dropped: int) -> None:
    """Note how many changes more were here already."""
    asked = {"node": header.node, "incarnation": header.incarnation, "link": header.link, "number": header.number}
    connection.execute(statement("receipts", "note_dropped"), {**asked, "dropped": dropped})


def note_retries(connection: psycopg.Connection, load: Load, retries: int) -> None:
    """Note how often a batch was undone by others who wanted the same rows, for whoever counts."""
    connection.execute(
        statement("receipts", "note_retries"),
        {
            "node": load.node, "incarnation": load.incarnation, "link": load.link, "number": load.number,
            "retries": retries,
        },
    )  # fmt: skip


def _identity(header: Header) -> dict[str, object]:
    return {"node": header.node, "lineage": header.lineage, "incarnation": header.incarnation, "link": header.link}
