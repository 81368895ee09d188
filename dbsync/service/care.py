"""Care for the triggers: after a migration they are renewed where this node may, and where it may not somebody is told."""

from __future__ import annotations

import time

import structlog

from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.model.names import TableName
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
        from dbsync.service.drift import drifted, renew  # noqa: PLC0415 - takes long to import, and changes wait to be shipped

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
