"""A node's own records: its switches, its change log, its links."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from dbsync.changelog.purge import live, size
from dbsync.check.clock import of_clock
from dbsync.check.finding import error, warning
from dbsync.check.side import Session
from dbsync.check.wording import filled
from dbsync.config.models import Config
from dbsync.model import words
from dbsync.model.findings import Finding
from dbsync.model.words import ago
from dbsync.statements import statement

BLOATED_FROM = 100_000_000
"""Bytes on disk; what is smaller is no trouble however empty it is."""
BLOAT = 4
"""Times what the living changes take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A node as its database knows it."""

    name: str
    lineage: UUID
    incarnation: UUID
    created_at: datetime
    capture_off_since: datetime | None
    paused_since: datetime | None
    reloaded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLink:
    """A link as the node's database knows it; times are seconds ago."""

    name: str
    state: str
    away: float | None
    clock_off: float | None
    quarantined: int
    """Changes that waited upstream at the last contact."""
    waits: float | None
    """The age of the first change that the link has no receipt for."""
    acknowledged: bool
    """Whether there ever was a receipt."""


def node(session: Session) -> Known | None:
    """Ask who this node is; None before it was installed."""
    with session.cursor(row_factory=class_row(Known)) as cursor:
        return cursor.execute(statement("health", "node")).fetchone()


def links(session: Session) -> list[KnownLink]:
    """Ask for the links."""
    with session.cursor(row_factory=class_row(KnownLink)) as cursor:
        return cursor.execute(statement("health", "links")).fetchall()


def of_node(known: Known, config: Config) -> Iterator[Finding]:
    """Find switches that somebody left as they should not stay, and a database that another name goes with."""
    if known.name != config.node.name:
        what = f"this database was installed as node {known.name}, and the configuration calls it {config.node.name}"
        yield error("node_name_differs", "source", what, f'name = "{known.name}" in [node]')
    if known.capture_off_since is not None:
        since = f"{known.capture_off_since:%Y-%m-%d %H:%M}"
        what = f"capture is off since {since} UTC: changes made now never reach the upstream"
        yield error("capture_off", "source", what, "dbsync capture on   then: dbsync verify --ignore-extra")
    if known.paused_since is not None:
        since = f"{known.paused_since:%Y-%m-%d %H:%M}"
        yield warning("shipping_paused", "source", f"shipping is paused since {since} UTC", "dbsync resume")
    if known.reloaded:
        what = "this database was reloaded from a dump or went through pg_upgrade, and goes on as a new incarnation"
        yield warning("database_reloaded", "source", what, "dbsync run --once")


def of_size(session: Session) -> Iterator[Finding]:
    """Find a change log that is mostly room which changes have left, told from a sample of its pages."""
    taken, living = size(session), live(session, "").bytes
    if taken >= BLOATED_FROM and taken > BLOAT * living:
        yield warning(
            "log_bloated",
            "source",
            f"the change log takes {words.size(taken)} on disk, about {words.size(living)} of it changes (estimated)",
            "VACUUM FULL dbsync.change;   -- while the application rests: it locks the log, and whoever writes waits",
        )


def of_unread(session: Session) -> Iterator[Finding]:
    """Find changes in the log of a database that has no upstream, which only a person can decide about."""
    row = session.execute(statement("health", "unread")).fetchone()
    assert row is not None
    holds, links = row
    if not holds:
        return
    what = f"the change log ({words.size(size(session))} on disk) holds changes that nothing reads: dbsync.toml has no [upstream]"
    if links:
        remedy = f"name {' and '.join(links)} in [upstream] again, then: dbsync run --once"
    else:
        remedy = "DELETE FROM dbsync.change;   -- leaves them behind; to ship them, write [upstream] instead"
    yield warning("log_unread", "upstream", what, remedy)


def of_links(known: Sequence[KnownLink], config: Config) -> Iterator[Finding]:
    """Find links that are none any more, and one that nobody heard of for long."""
    label = config.above.label if config.above is not None else None
    answers = any(link.name == label and link.away is not None for link in known)
    for link in known:
        if link.name != label:
            what = f"the link {link.name} is not that of dbsync.toml: what it has no receipt for is never purged"
            yield warning("link_unused", "source", what, _about_unused(link, label, answers=answers))
            continue
        waits = link.waits or 0.0
        silent = link.away is not None and link.away > config.check.silent_seconds
        if silent or waits > config.check.silent_seconds:
            since = (
                f"the last contact was {ago(link.away)} ago" if link.away is not None else "there never was a contact"
            )
            oldest = f", and the oldest change waits since {ago(waits)}" if waits else ""
            yield warning("link_silent", "upstream", f"{since}{oldest}", "dbsync run --once")


def _about_unused(link: KnownLink, label: str | None, *, answers: bool) -> str:
    """Say what to do about a link that is not the file's; deleting one that is at work makes its upstream a stranger."""
    if label is not None and not answers:
        return f"mend url (or name) in [upstream]: {label}, as it is now, has never answered, and {link.name} is probably meant"
    if link.acknowledged:
        return (
            f"name {link.name} in [upstream] again, if it is meant;"
            " one that was replaced for good: dbsync check --explain link_unused"
        )
    return filled("DELETE FROM dbsync.link WHERE name = {};   -- or name it in [upstream] again", link.name)


def of_last_waiting(known: Sequence[KnownLink], config: Config) -> Iterator[Finding]:
    """Tell what waited upstream when it was last heard of."""
    for link in known:
        if link.name == config.upstream.label and link.quarantined:
            what = f"{link.quarantined:,} changes of this node waited in quarantine at the last contact"
            yield warning("quarantine_waits", "upstream", what, "dbsync quarantine list   (at the upstream: --here)")


def of_last_clock(known: Sequence[KnownLink], config: Config) -> Iterator[Finding]:
    """Tell by how much the clocks differed when they were last compared."""
    for link in known:
        if link.name == config.upstream.label and link.clock_off is not None:
            yield from of_clock(link.clock_off, config.service.clock_limit, measured=" at the last contact")


def of_peers(session: Session, seconds: float) -> Iterator[Finding]:
    """Find nodes and relays that were let in and were not heard of for long."""
    for name, away in session.execute(statement("health", "silent_peers"), {"seconds": seconds}).fetchall():
        what = f"{name} was last heard of {ago(away)} ago"
        yield warning("node_silent", "upstream", what, f'ask who has it; or: dbsync nodes revoke {name} --reason "..."')
