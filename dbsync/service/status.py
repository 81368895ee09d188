"""What a node says of itself, from its own database: with the service stopped and the upstream away too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
from psycopg.rows import tuple_row

from dbsync import schema
from dbsync.alerts import kept as alerts
from dbsync.alerts.kept import Kept
from dbsync.capture import install as capture
from dbsync.capture.install import TriggerState
from dbsync.catalog.inspect import inspect
from dbsync.changelog.lives import Event, events
from dbsync.config.models import Config
from dbsync.keys.expression import qualified
from dbsync.keys.register import register
from dbsync.model.names import TableName
from dbsync.postgres import connect, translated
from dbsync.service import node as nodes
from dbsync.service.backlog import LogStatus, backlog, log_status
from dbsync.service.node import Node
from dbsync.statements import statement

STREAMING, STOPPED = "streaming", "stopped"
"""Two of a link's states, without all that has to do with shipping."""
CUT_OFF = "it ended without a word, as when it is killed or the power fails: dbsync run   goes on where it was"
EVENT_DAYS = 7
"""How long status tells of an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatus:
    """One captured table."""

    table: TableName
    pending: int
    oldest: datetime | None
    today: int
    trigger: str
    quarantined: int = 0
    """Changes that waited upstream at the last contact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """What one middleman has of the changes that have no receipt."""

    relay: str
    batches: int
    changes: int
    since: datetime
    until: datetime
    """When he took the first and the last of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """The link to the upstream."""

    name: str
    state: str
    since: datetime | None
    reason: str | None
    last_batch: int
    last_changes: int | None
    last_at: datetime | None
    above: Mapping[str, int | None] = field(default_factory=dict)
    """Up to which batch each tier above the upstream had everything at the last contact; None where it could not be told."""
    custody: tuple[Custody, ...] = ()
    """What middlemen have of what has no receipt."""
    clock_off: float | None = None
    """Seconds by which this node's clock was ahead of the upstream's at the last contact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything ``dbsync status`` shows."""

    node: Node
    link: LinkStatus
    tables: tuple[TableStatus, ...]
    log: LogStatus
    exact: bool
    """Whether pending changes were counted; else they are an estimate."""
    now: datetime
    events: tuple[Event, ...] = ()
    """What happened to this database or its upstream in the last days."""
    waiting_here: int = 0
    """Changes of other nodes that wait in this database's own quarantine."""
    backfills: tuple[str, ...] = ()
    """Tables with rows that no trigger saw and no backfill has logged yet."""
    alerts: tuple[Kept, ...] = ()
    """What stands, as somebody was told of it, where somebody is to be."""

    @property
    def pending(self) -> int:
        """Count the changes without a receipt."""
        return sum(table.pending for table in self.tables)

    @property
    def quarantined(self) -> int:
        """Count the changes that waited in quarantine upstream at the last contact."""
        return sum(table.quarantined for table in self.tables)

    @property
    def lag(self) -> float | None:
        """Give the age of the oldest change without a receipt, in seconds; None when there is none."""
        oldest = [table.oldest for table in self.tables if table.oldest is not None]
        return (self.now - min(oldest)).total_seconds() if oldest else None


def status(config: Config) -> Status:
    """Gather the status of a node; only its own database is asked."""
    with connect(config.node.source, name="source") as connection:
        schema.require(connection, "source")
        with translated("source"):
            return read(connection, config, trigger_states(config, connection))


def read(connection: psycopg.Connection, config: Config, states: Mapping[TableName, str]) -> Status:
    """Gather the status in a session of the node's own database; ``states`` are those of the triggers, which take longest to tell."""
    node = nodes.read(connection)
    link, held = _link(connection, config.upstream.label)
    waiting = backlog(connection, config.upstream.label)
    today = {str(row[0]): int(str(row[1])) for row in _rows(connection, "retention", "shipped_today", link.name)}
    log = log_status(connection, link.name, config.retention)
    happened = events(connection, EVENT_DAYS)
    here = connection.execute(statement("service", "waiting_here")).fetchone()
    standing = alerts.kept(connection) if config.alerts.hooks else ()
    owed = connection.execute(statement("capture", "backfills_begun")).fetchall()
    now = connection.execute("SELECT clock_timestamp()").fetchone()
    names = {qualified(table): table for table in states}
    names.update({relation: _name(relation) for relation in (*waiting.tables, *held) if relation not in names})
    return Status(
        node=node,
        link=link,
        tables=tuple(
            TableStatus(
                table=table,
                pending=waiting.tables[relation].changes if relation in waiting.tables else 0,
                oldest=waiting.tables[relation].oldest if relation in waiting.tables else None,
                today=today.get(relation, 0),
                trigger=states.get(table, "removed"),
                quarantined=held.get(relation, 0),
            )
            for relation, table in sorted(names.items())
        ),
        log=log,
        exact=waiting.exact,
        now=now[0] if now else datetime.now(UTC),
        events=happened,
        waiting_here=here[0] if here else 0,
        backfills=tuple(str(_name(relation)) for (relation,) in owed),
        alerts=standing,
    )


def _link(connection: psycopg.Connection, label: str) -> tuple[LinkStatus, dict[str, int]]:
    """Give the link, and the changes that waited upstream at the last contact, by table."""
    asked = statement("service", "links").format(claimed=statement("service", "claimed"))
    rows = [row for row in connection.execute(asked).fetchall() if row[0] == label]
    if not rows:
        return LinkStatus(
            name=label, state="new", since=None, reason=None, last_batch=0, last_changes=None, last_at=None
        ), {}
    name, state, since, reason, number, changes, acknowledged, contact, held, off, above, claimed = rows[0]
    if state == STREAMING and not claimed:  # who streams has the link
        state, since, reason = STOPPED, contact, CUT_OFF
    return LinkStatus(
        name=name,
        state=state,
        since=since,
        reason=reason,
        last_batch=number,
        last_changes=changes,
        last_at=acknowledged,
        above=above,
        custody=tuple(
            Custody(relay=relay, batches=batches, changes=count, since=since, until=until)
            for relay, batches, count, since, until in connection.execute(
                statement("custody", "standing"), {"link": name}
            ).fetchall()
        ),
        clock_off=off,
    ), held


def _rows(connection: psycopg.Connection, file: str, name: str, link: str) -> list[tuple[object, ...]]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return list(cursor.execute(statement(file, name), {"link": link}).fetchall())


def trigger_states(config: Config, connection: psycopg.Connection) -> dict[TableName, str]:
    """Compare the triggers with the configuration; with a configuration that no longer fits, show them all the same."""
    catalog = inspect(connection)
    registry, _ = register(config, catalog)
    states: dict[TableName, TriggerState] = capture.states(connection, capture.captures(connection, registry, catalog))
    return {table: state.value for table, state in states.items()}


def _name(relation: str) -> TableName:
    schema_name, _, table = relation.partition(".")
    return TableName(schema_name, table)
