"""How a node stands, read from its own database: for whoever is to be told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import psycopg

from dbsync import certificates, schema
from dbsync.alerts.conditions import Limits, Situation
from dbsync.capture.install import TriggerState
from dbsync.config.models import Config
from dbsync.errors import DbsyncError, SchemaVersionError
from dbsync.model.program import Program
from dbsync.postgres import connect, translated
from dbsync.service import node as nodes
from dbsync.service.backlog import backlog
from dbsync.service.link import LinkState
from dbsync.service.status import trigger_states
from dbsync.statements import statement

COUNTED = 1_000
"""Pending changes that are looked at: the oldest is among the first."""
PAGES = 100


def limits(config: Config) -> Limits:
    """Give from when on something is worth telling."""
    return Limits(
        unreachable=config.alerts.unreachable_seconds,
        lag=config.alerts.lag_seconds,
        certificate=config.check.certificate_seconds,
    )


def situation(config: Config, program: Program, no_room: Callable[[], bool]) -> Situation:
    """Look how a node stands: ``run`` tells of its link, ``serve`` of those that bring their changes here."""
    known = Situation(node=config.node.name, now=datetime.now(UTC), certificates=certificates.known())
    try:
        with connect(config.node.source, name="source", application="dbsync alerts") as connection:
            schema.require(connection, "source")
            with translated("source"):
                if program is Program.RUN:
                    return replace(_of_link(connection, config.upstream.label, known), no_room=no_room())
                return _of_those_below(connection, known)
    except SchemaVersionError:
        return known  # somebody is upgrading; the program itself says so
    except DbsyncError:
        return replace(known, database_away=True)


def whole_situation(config: Config) -> Situation:
    """Look how a node stands in all it does. Raises what keeps it from being known.

    Who looks from outside compares triggers with the configuration: it may name tables that were never captured.
    """
    known = Situation(node=config.node.name, now=datetime.now(UTC), certificates=certificates.known())
    with connect(config.node.source, name="source", application="dbsync status") as connection:
        schema.require(connection, "source")
        with translated("source"):
            if config.above is not None:
                nodes.read(connection)
                states = trigger_states(config, connection).values()
                blind = sum(state in (TriggerState.MISSING, TriggerState.DISABLED) for state in states)
                known = replace(_of_link(connection, config.above.label, known), blind=blind)
            return _of_those_below(connection, known)


def _of_link(connection: psycopg.Connection, link: str, known: Situation) -> Situation:
    node = _of_node(connection)
    asked = statement("alerts", "link").format(claimed=statement("service", "claimed"))
    row = connection.execute(asked, {"link": link}).fetchone()
    state, since, contact, quarantined, claimed = row or (LinkState.NEW.value, None, None, 0, False)
    waiting = backlog(connection, link, COUNTED, PAGES).tables.values()
    return replace(
        known,
        link=link,
        state=state,
        since=since,
        contact=contact,
        claimed=claimed,
        pending=sum(table.changes for table in waiting),
        lag=max(((node.now - table.oldest).total_seconds() for table in waiting), default=None),
        quarantined=quarantined,
        capture_off_since=node.capture_off_since,
        paused_since=node.paused_since,
        blind=node.blind,
    )


def _of_those_below(connection: psycopg.Connection, known: Situation) -> Situation:
    return replace(known, waiting_here=_of_node(connection).waiting_here)


class _Node(NamedTuple):
    """What the node itself says, in the order of the statement."""

    capture_off_since: datetime | None
    paused_since: datetime | None
    waiting_here: int
    blind: int
    now: datetime


def _of_node(connection: psycopg.Connection) -> _Node:
    row = connection.execute(statement("alerts", "node")).fetchone()
    assert row is not None
    return _Node(*row)
