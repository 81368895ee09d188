"""Triggers that drifted: found where a migration left them behind, and made anew."""

from __future__ import annotations

from collections.abc import Collection

import psycopg

from dbsync.capture import install as capture
from dbsync.capture.install import TriggerState
from dbsync.catalog.inspect import inspect, one_snapshot
from dbsync.config.models import Config
from dbsync.keys.register import register
from dbsync.model.names import TableName
from dbsync.postgres import connect, translated
from dbsync.service.install import composed
from dbsync.statements import statement


def drifted(config: Config) -> tuple[TableName, ...]:
    """Give the tables whose triggers are missing or made from a table that was another one."""
    with connect(config.node.source, name="source") as connection, translated("source"):
        if not _is_installed(connection):
            return ()
        with one_snapshot(connection):
            catalog = inspect(connection)
            registry, _ = register(config, catalog)
            wanted = capture.captures(connection, registry, catalog)
        states = capture.states(connection, wanted)
    return tuple(sorted(t for t, state in states.items() if state in (TriggerState.MISSING, TriggerState.OUTDATED)))


def renew(config: Config, tables: Collection[TableName]) -> None:
    """Install the triggers of some tables anew, each in a short transaction of its own, and touch no other's."""
    with connect(config.node.source, name="source") as connection, translated("source"):
        found, wanted = composed(config, connection)
        capture.register_lookups(connection, found.registry, found.catalog)
        for item in wanted:
            if item.table.name in tables:
                capture.install(connection, item, lock_timeout=config.service.lock_timeout)


def _is_installed(connection: psycopg.Connection) -> bool:
    row = connection.execute(statement("service", "captures_anything")).fetchone()
    return row is not None and bool(row[0])
