"""Care for the triggers: after a migration they are renewed where this node may, and where it may not somebody is told."""

from __future__ import annotations

import time
from collections.abc import Collection

import psycopg
import structlog

from dbsync.capture import install as capture
from dbsync.capture.install import TriggerState
from dbsync.catalog.inspect import inspect, one_snapshot
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.keys.register import register
from dbsync.model.names import TableName
from dbsync.postgres import connect, translated
from dbsync.service.install import composed
from dbsync.statements import statement
from dbsync.tally import note_drifted

PAUSE = 60.0
"""Seconds between two looks."""

log = structlog.get_logger()


class Care:
    """Looks after the triggers of one source: at once, and then every ``pause`` seconds."""

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause
        self._next = 0.0
        self._told: tuple[object, ...] = ()

    def take(self, config: Config) -> None:
        """Renew triggers that no longer are what they should be, if it is time to look.

        A trigger that somebody disabled stays so, and a source whose triggers were all taken away is left alone: that
        was somebody's will.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._pause
        tables = drifted(config)
        note_drifted(config.node.name, len(tables))
        if not tables:
            self._told = ()
            return
        try:
            renew(config, tables)
        except DbsyncError as error:
            self._tell(tables, error)
            return
        note_drifted(config.node.name, 0)
        log.info("triggers_renewed", tables=[str(table) for table in tables])

    def _tell(self, tables: tuple[TableName, ...], error: DbsyncError) -> None:
        """Say once why it was not done; what the triggers cannot tell any more goes to quarantine upstream."""
        told = (*tables, str(error))
        if told != self._told:
            by_hand = "as the owner of the tables: dbsync install-triggers"
            log.warning(
                "triggers_drifted",
                tables=[str(table) for table in tables],
                reason=str(error),
                hint="it is tried again in a minute" if error.try_again else by_hand,
            )
        self._told = told


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
