"""What the change log holds and the room it takes, told without reading all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from dbsync.changelog.purge import SAMPLE_PAGES, live, size
from dbsync.config.models import RetentionConfig
from dbsync.model.names import TableName
from dbsync.statements import statement

COUNTED = 200_000
"""Changes that are looked at one by one; what there is beyond them is told from a sample of the log's pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Changes of one table without a receipt."""

    changes: int
    oldest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What a link has no receipt for, by ``schema.table``; ``exact`` unless it is too much to count."""

    tables: Mapping[str, Waiting]
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """The change log on disk."""

    bytes: int
    """With the space it can use again."""
    waiting_bytes: int
    """Of these, changes without a receipt; an estimate for a large log."""
    oldest: datetime | None
    kept: int
    """Acknowledged changes that are still there."""
    keep: str
    max_size: str | None
    compact_over: str | None


def backlog(connection: psycopg.Connection, link: str, enough: int = COUNTED, pages: int = SAMPLE_PAGES) -> Backlog:
    """Count what is pending, or estimate it from ``enough`` changes on, by a sample of so many pages.

    That nothing is pending is never an estimate.
    """
    counted, is_all = _counted(connection, link, enough)
    if is_all:
        return Backlog(tables=counted, exact=True)
    about = _estimated(connection, link, pages)
    if not (counted or about):  # the end of a long window, in none of the pages
        return _from_the_end(connection, link, enough)
    # What was counted is the oldest, and no less than that is there.
    return Backlog(
        tables={
            name: Waiting(
                changes=max(part[name].changes for part in (about, counted) if name in part),
                oldest=min(part[name].oldest for part in (about, counted) if name in part),
            )
            for name in sorted(about.keys() | counted.keys())
        },
        exact=False,
    )


def count_pending(connection: psycopg.Connection, link: str) -> int | None:
    """Count the changes that no receipt covers yet; None where nothing was shipped or the log cannot be read."""
    try:
        if connection.execute(statement("changelog", "link"), {"link": link}).fetchone() is None:
            return None
        waiting = backlog(connection, link)
    except psycopg.Error:
        return None  # not installed yet, or not for this role: the comparison does not need it
    return sum(table.changes for table in waiting.tables.values())


def held_upstream(connection: psycopg.Connection, link: str) -> frozenset[TableName]:
    """Name the tables of which changes waited in quarantine upstream at the last contact."""
    try:
        rows = connection.execute(statement("service", "held_upstream"), {"link": link}).fetchall()
    except psycopg.Error:
        return frozenset()  # as above
    return frozenset(TableName(schema, table) for schema, _, table in (row[0].partition(".") for row in rows))


def log_status(connection: psycopg.Connection, link: str, retention: RetentionConfig) -> LogStatus:
    """Say how large the log is and what stays in it."""
    oldest = connection.execute(statement("retention", "oldest")).fetchone()
    kept = connection.execute(statement("retention", "kept"), {"link": link}).fetchone()
    return LogStatus(
        bytes=size(connection),
        waiting_bytes=live(connection, link).waiting_bytes,
        oldest=oldest[0] if oldest else None,
        kept=kept[0] if kept else 0,
        keep=retention.keep,
        max_size=retention.max_size,
        compact_over=retention.compact_over,
    )


def _from_the_end(connection: psycopg.Connection, link: str, enough: int) -> Backlog:
    """Count what is pending among the newest ``enough`` changes, and only where nothing is, among all."""
    newest, is_all = _counted(connection, link, enough, newest_first=True)
    if newest:
        return Backlog(tables=newest, exact=is_all)
    return Backlog(tables=_counted(connection, link)[0], exact=True)


def _counted(
    connection: psycopg.Connection, link: str, enough: int | None = None, *, newest_first: bool = False
) -> tuple[dict[str, Waiting], bool]:
    """Count what is pending among the first ``enough`` changes that the link's cursor has not passed; say whether these are all."""
    query = statement("retention", "pending").format(direction=sql.SQL("DESC" if newest_first else "ASC"))
    with connection.transaction():
        connection.execute(statement("retention", "by_index"))
        rows = connection.execute(query, {"link": link, "enough": enough}).fetchall()
    found = {name: Waiting(changes=changes, oldest=oldest) for name, changes, oldest, _ in rows if changes}
    return found, enough is None or sum(row[3] for row in rows) < enough


def _estimated(connection: psycopg.Connection, link: str, pages: int) -> dict[str, Waiting]:
    rows = connection.execute(statement("retention", "pending_about"), {"link": link, "pages": pages}).fetchall()
    return {name: Waiting(changes=changes, oldest=oldest) for name, changes, oldest in rows if changes}
