"""Care for the triggers: after a migration they are renewed where this node may, and where it may not somebody is told."""

from __future__ import annotations

import time

import psycopg
import structlog

from dbsync.capture import install as capture
from dbsync.capture.install import TriggerState
from dbsync.catalog.inspect import inspect
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.keys.register import register
from dbsync.model.names import TableName
from dbsync.postgres import connect, translated
from dbsync.service.install import install_source
from dbsync.statements import statement

PAUSE = 60.0
"""Seconds between two looks."""

log = structlog.get_logger()


class Care:
    """Looks after the triggers of one source, now and then."""

    def __init__(self) -> None:
        self._next = 0.0
        self._told: tuple[TableName, ...] = ()

    def take(self, config: Config) -> None:
        """Renew triggers that no longer are what they should be, if it is time to look.

        A trigger that somebody disabled stays so, and a source whose triggers were all taken away is left alone: that
        was somebody's will.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PAUSE
        tables = drifted(config)
        if not tables:
            self._told = ()
            return
        try:
            done = install_source(config).tables
        except DbsyncError as error:
            self._tell(tables, error)
            return
        log.info("triggers_renewed", tables=[str(table) for table in done])

    def _tell(self, tables: tuple[TableName, ...], error: DbsyncError) -> None:
        """Say once that somebody else has to do it; what the triggers cannot tell any more goes to quarantine upstream."""
        if tables != self._told:
            log.warning(
                "triggers_drifted",
                tables=[str(table) for table in tables],
                reason=str(error),
                hint="as the owner of the tables: dbsync install-triggers",
            )
        self._told = tables


def drifted(config: Config) -> tuple[TableName, ...]:
    """Give the tables whose triggers are missing or made from a table that was another one."""
    with connect(config.node.source, name="source") as connection, translated("source"):
        if not _is_installed(connection):
            return ()
        catalog = inspect(connection)
        registry, _ = register(config, catalog)
        states = capture.states(connection, capture.captures(connection, registry, catalog))
    return tuple(sorted(t for t, state in states.items() if state in (TriggerState.MISSING, TriggerState.OUTDATED)))


def _is_installed(connection: psycopg.Connection) -> bool:
    row = connection.execute(statement("service", "captures_anything")).fetchone()
    return row is not None and bool(row[0])
