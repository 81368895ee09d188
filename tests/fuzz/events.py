"""What happens in a story: transactions, and what dbsync and those who look after it do between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import pq

from tests.fuzz.drift import Step

WHENS = ("SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS ALL DEFERRED", "")
TIDY = WHENS[:1]
"""How a transaction may begin, so that no statement leaves for a later one what a constraint would refuse."""

Session = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Event:
    """What happens, and at which of the laptops, where it happens at one."""

    laptop: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class Transaction(Event):
    """Statements, each in a savepoint; ``ends`` is COMMIT or ROLLBACK."""

    statements: Sequence[str]
    ends: str = "COMMIT"

    def run(self, session: Session) -> None:
        """Run it; what an application would have been refused is left out."""
        session.execute("BEGIN")
        for statement in self.statements:
            attempt(session, statement)
        end(session, self.ends)


@dataclass(frozen=True, slots=True)
class Meanwhile(Event):
    """A statement of another session, whose transaction stays open."""

    statement: str

    def run(self, session: Session) -> None:
        """Run it, in a transaction that asks constraints at once."""
        begin(session, TIDY[0])
        attempt(session, self.statement)


@dataclass(frozen=True, slots=True)
class MeanwhileEnds(Event):
    """The other session's transaction ends."""

    ends: str = "COMMIT"

    def run(self, session: Session) -> None:
        """End it, if there is one."""
        end(session, self.ends)


@dataclass(frozen=True, slots=True)
class Ship(Event):
    """Ship what is pending, or the first batch of it."""

    size: int
    only_one: bool = False


@dataclass(frozen=True, slots=True)
class Restart(Event):
    """Go on as a new process."""


@dataclass(frozen=True, slots=True)
class Compact(Event):
    """Compact the backlog."""


@dataclass(frozen=True, slots=True)
class Backfill(Event):
    """Put all rows into the change log once more."""


@dataclass(frozen=True, slots=True)
class Migrate(Event):
    """A migration comes to one of the ends: the laptops, then the tiers above."""

    step: Step
    end: int


@dataclass(frozen=True, slots=True)
class Reinstall(Event):
    """Triggers are installed again, where tables have changed."""


@dataclass(frozen=True, slots=True)
class BackUp(Event):
    """The server of all laptops is backed up."""


@dataclass(frozen=True, slots=True)
class Restore(Event):
    """The server is restored, from its last backup."""


@dataclass(frozen=True, slots=True)
class Refuse(Event):
    """From now on the upstream refuses rows that have a value in a column."""

    table: str
    column: str
    value: str

    @property
    def ddl(self) -> str:
        """Give the statement that makes it so."""
        return (
            f"ALTER TABLE {self.table} ADD CHECK ({self.column}::text IS DISTINCT FROM ({self.value})::text) NOT VALID"
        )


@dataclass(frozen=True, slots=True)
class Allow(Event):
    """The upstream refuses nothing any more."""


def is_open(session: Session) -> bool:
    """Say whether a session is in a transaction."""
    return session.info.transaction_status is not pq.TransactionStatus.IDLE


def begin(session: Session, when: str) -> None:
    """Begin a transaction, unless there is one."""
    if not is_open(session):
        session.execute("BEGIN")
        session.execute((when or "SELECT").encode())


def end(session: Session, ends: str) -> bool:
    """End a transaction; say whether it could be ended so."""
    try:
        session.execute(ends.encode())
    except psycopg.Error:
        session.rollback()
        return False
    return True


def attempt(session: Session, statement: str) -> bool:
    """Run a statement in a transaction, unless PostgreSQL refuses it; say whether it ran."""
    session.execute("SAVEPOINT s")
    try:
        session.execute(statement.encode())
    except psycopg.Error:
        session.execute("ROLLBACK TO SAVEPOINT s")
        return False
    return True
