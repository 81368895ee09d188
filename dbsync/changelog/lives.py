"""The lives of a source database, in its own log: a new incarnation, the way back, a log that was reloaded elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import psycopg

from dbsync.errors import Interrupted
from dbsync.model.batch import Ended
from dbsync.statements import statement


class Kind(StrEnum):
    """What can happen to a database."""

    RESTORED = "restored"
    COPIED = "copied"
    RELOADED = "reloaded"
    UPSTREAM_RESTORED = "upstream_restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened, in words, and what to do about it."""

    kind: Kind
    what: str
    hint: str
    link: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentLife:
    """The acknowledged batches of one incarnation that are still on record."""

    incarnation: UUID
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """From a batch on record to where a link is now."""

    number: int
    last_number: int
    changes: int
    held: int
    """How many of those changes are still in the log."""
    place: int

    @property
    def is_whole(self) -> bool:
        """Say whether all of them are."""
        return self.held == self.changes


def begin_life(connection: psycopg.Connection, incarnation: UUID) -> UUID:
    """Give this database a new incarnation: numbers begin at 1, every link goes on where it is.

    To be called in a transaction. Raises Interrupted when another service has done it in the meantime.
    """
    connection.execute(statement("lives", "note_life"))
    row = connection.execute(statement("lives", "begin_life"), {"incarnation": incarnation}).fetchone()
    if row is None:
        raise Interrupted(
            "another dbsync has begun a new life of this database", where="source", why="both found it changed"
        )
    for name in ("number_anew", "set_aside", "forget_questions"):
        connection.execute(statement("lives", name))
    begun: UUID = row[0]
    return begun


def sent_lives(connection: psycopg.Connection, link: str) -> tuple[SentLife, ...]:
    """Give the incarnations whose batches are on record, oldest first."""
    rows = connection.execute(statement("lives", "lives"), {"link": link}).fetchall()
    return tuple(SentLife(incarnation=incarnation, first=first, last=last) for incarnation, first, last in rows)


def forgotten_lives(connection: psycopg.Connection, link: str) -> tuple[tuple[UUID, int], ...]:
    """Give the incarnations before those on record, each with the last batch that had a receipt."""
    return tuple(connection.execute(statement("lives", "forgotten_lives"), {"link": link}).fetchall())


def sent_hash(connection: psycopg.Connection, link: str, incarnation: UUID, number: int) -> bytes | None:
    """Give the hash of an acknowledged batch, if it is still on record."""
    row = connection.execute(
        statement("lives", "hash"), {"link": link, "incarnation": incarnation, "number": number}
    ).fetchone()
    return bytes(row[0]) if row else None


def way_back(connection: psycopg.Connection, link: str, incarnation: UUID, first: int) -> WayBack | None:
    """Say what lies behind the first batch on record from a number on; None when there is none."""
    row = connection.execute(
        statement("lives", "way_back"), {"link": link, "incarnation": incarnation, "first": first}
    ).fetchone()
    if row is None:
        return None
    number, place, last_number, changes, held = row
    return WayBack(number=number, place=place, last_number=last_number, changes=changes, held=held)


def hold_link(connection: psycopg.Connection, link: str) -> None:
    """Keep everybody else from moving a link, until the transaction ends."""
    connection.execute(statement("lives", "hold_link"), {"link": link})


def go_back(connection: psycopg.Connection, link: str, way: WayBack, *, number: int, last_hash: bytes) -> None:
    """Move a link to where it was before a batch, and say what the upstream has last.

    Where everything behind it is still held it is sent again in the same batches, else in others. To be called in a
    transaction, when the incarnation is the one to go on under.
    """
    behind = {"link": link, "place": way.place, "number": number}
    connection.execute(statement("lives", "go_back"), {**behind, "hash": last_hash})
    connection.execute(statement("lives", "send_again" if way.is_whole else "forget_behind"), behind)


def tell_of_lives(connection: psycopg.Connection, link: str) -> None:
    """Have the upstream told that every life before this one is over: not all that it lost of them comes again."""
    connection.execute(statement("lives", "tell_of_lives"), {"link": link})


def ended(connection: psycopg.Connection, link: str) -> tuple[Ended, ...]:
    """Give the lives of which the upstream is to be told that they are over."""
    rows = connection.execute(statement("lives", "ended"), {"link": link}).fetchall()
    return tuple(
        Ended(incarnation=incarnation, number=number, hash=bytes(digest)) for incarnation, number, digest in rows
    )


def record(connection: psycopg.Connection, event: Event) -> None:
    """Leave word of an event, in the transaction that deals with it."""
    connection.execute(
        statement("lives", "record_event"),
        {"kind": event.kind.value, "link": event.link, "what": event.what, "hint": event.hint},
    )


def events(connection: psycopg.Connection, days: int) -> tuple[Event, ...]:
    """Give what happened in the last days, oldest first."""
    rows = connection.execute(statement("lives", "events"), {"days": days}).fetchall()
    return tuple(Event(at=at, kind=Kind(kind), link=link, what=what, hint=hint) for at, kind, link, what, hint in rows)


def move_in(connection: psycopg.Connection) -> int | None:
    """Take a log that was made in another cluster for this one's, as far as one transaction can; give what is pending.

    What no link had acknowledged stays, each transaction listed that needs an id of this cluster; the database begins a
    new life. None when another service has done it.
    """
    connection.execute(statement("lives", "reload_turn"))
    row = connection.execute(statement("lives", "is_reloaded")).fetchone()
    if row is None or not row[0]:
        return None
    connection.execute(statement("lives", "forget_restamps"))
    pending = connection.execute(statement("lives", "sort_out")).fetchone()
    for name in ("note_life", "begin_anew", "forget_sent", "forget_questions", "move_in"):
        connection.execute(statement("lives", name))
    return int(pending[0]) if pending else 0


def restamp(connection: psycopg.Connection) -> None:
    """Give the listed transactions ids of this cluster, one small transaction each; goes on where a crash left it.

    Autocommit. Nothing of it need be durable before something is sent, and recording what is sent makes it so.
    """
    connection.execute("SET synchronous_commit = off")
    try:
        while _has_restamps(connection):
            connection.execute(statement("lives", "restamp"))
    finally:
        connection.execute("RESET synchronous_commit")


def _has_restamps(connection: psycopg.Connection) -> bool:
    row = connection.execute(statement("lives", "has_restamps")).fetchone()
    return row is not None and bool(row[0])
