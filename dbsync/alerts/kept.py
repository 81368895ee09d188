"""What stands, and where it is kept: a restart tells nobody twice, and ``dbsync status`` sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg

from dbsync.alerts.book import Standing
from dbsync.alerts.conditions import Condition, Kind, Severity
from dbsync.model.program import Program
from dbsync.postgres import connect, translated
from dbsync.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One of them, as ``status`` shows it."""

    alert: str
    subject: str
    severity: str
    what: str
    since: datetime
    told_at: datetime | None
    trouble: str | None
    """Why somebody was not told."""

    def standing(self, hint: str, level: int) -> Standing | None:
        """Give it as it goes on after a restart; None where nobody had heard of it."""
        if self.told_at is None:
            return None
        condition = Condition(
            kind=Kind(self.alert),
            subject=self.subject,
            severity=Severity(self.severity),
            what=self.what,
            hint=hint,
            level=level,
        )
        return Standing(
            condition=condition, since=self.since.timestamp(), level=level, told_at=self.told_at.timestamp()
        )


class Shelf(Protocol):
    """Where a program keeps what stands. Both raise DbsyncError where it cannot be reached."""

    def take_up(self) -> list[Standing]:
        """Give what stood when this program ended, and somebody heard of it."""
        ...

    def keep(self, standing: Iterable[Standing]) -> None:
        """Keep what stands now, and forget what does not any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InDatabase:
    """A node keeps it in its own database, beside what its other programs have to tell."""

    dsn: str
    program: Program

    def take_up(self) -> list[Standing]:
        """Give what stood when this program ended, and somebody heard of it."""
        with self._connected() as connection:
            rows = connection.execute(statement("alerts", "kept"), {"program": self.program.value}).fetchall()
        found = (_read(row).standing(hint=row[4], level=row[5]) for row in rows)
        return [one for one in found if one is not None]

    def keep(self, standing: Iterable[Standing]) -> None:
        """Keep what stands now, and forget what does not any more."""
        named = {"program": self.program.value}
        with self._connected() as connection, connection.transaction():
            connection.execute(statement("alerts", "forget"), named)
            connection.cursor().executemany(
                statement("alerts", "keep"), [{**named, **row} for row in written(standing)]
            )

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        with connect(self.dsn, name="source", application="dbsync alerts") as connection, translated("source"):
            yield connection


def written(standing: Iterable[Standing]) -> list[dict[str, Any]]:
    """Give what stands as it is kept, one row each: what was told, or is to be."""
    return [
        {
            "alert": one.condition.kind.value,
            "subject": one.condition.subject,
            "severity": one.condition.severity.value,
            "what": one.condition.what,
            "hint": one.condition.hint,
            "level": one.level,
            "since": _moment(one.since),
            "told_at": _moment(one.told_at),
            "trouble": one.trouble,
        }
        for one in standing
        if one.level
    ]


def kept(connection: psycopg.Connection) -> tuple[Kept, ...]:
    """Give all that stands, by whichever program."""
    rows = connection.execute(statement("alerts", "kept"), {"program": None}).fetchall()
    return tuple(_read(row) for row in rows)


def _read(row: tuple[Any, ...]) -> Kept:
    alert, subject, severity, what, _, _, since, told_at, trouble = row
    return Kept(
        alert=alert, subject=subject, severity=severity, what=what, since=since, told_at=told_at, trouble=trouble
    )


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
