"""Upkeep of the change log beside shipping: what is done with goes, and a backlog that is too large is compacted."""

from __future__ import annotations

import threading
import time

import psycopg
import structlog

from dbsync import schema
from dbsync.changelog.compact import compact, prepare
from dbsync.changelog.purge import Purge, is_at_home, live, size
from dbsync.config.models import Config, RetentionConfig
from dbsync.errors import DbsyncError, Interrupted
from dbsync.postgres import connect, translated

BUSY = 1.0
"""Seconds between two turns while changes are shipped ..."""
IDLE = 60.0
"""... and while none are: changes get older all the same."""
BITES = 5
"""So much is deleted in one turn, that shipping does not wait."""
PATIENCE = 2.0
"""Seconds that compaction waits for others; the next attempt to reach the upstream brings the next one."""
GROWN = 1.5
"""A backlog that was compacted is so many times larger before it is worth doing again."""

log = structlog.get_logger()


class Upkeep:
    """Keeps the change log of one source small; asked by the service between two batches."""

    def __init__(self) -> None:
        self._purge: Purge | None = None
        self._turned = -IDLE
        self._unsettled = True
        """Something was shipped since the last turn, or there was more to purge."""
        self._tidied = -IDLE
        self._left = 0
        """Bytes of the backlog that compaction had left."""

    def begin(self, connection: psycopg.Connection, retention: RetentionConfig) -> None:
        """Work on the session of the reader from here on."""
        self._purge = _purge(connection, retention)
        self._turned = -IDLE

    def is_due(self, shipping_since: float) -> bool:
        """Say whether shipping, which may go on for ever, should pause for a turn."""
        return time.monotonic() >= max(self._turned, shipping_since) + BUSY

    def purge(self, *, shipped: bool) -> None:
        """Purge for a moment if it is time; soon again after something was ``shipped`` or while there is more."""
        self._unsettled = self._unsettled or shipped
        if self._purge is None or time.monotonic() < self._turned + (BUSY if self._unsettled else IDLE):
            return
        self._unsettled = self._purge.run(BITES)
        self._turned = time.monotonic()

    def finish(self) -> None:
        """Purge all there is."""
        if self._purge is not None:
            self._purge.purge()

    def tidy(self, config: Config) -> None:
        """Do before a link is opened, also where there is no route, what keeps an offline node's log bounded."""
        if time.monotonic() < self._tidied + IDLE:
            return
        self._tidied = time.monotonic()
        with connect(config.node.source, name="source") as connection:
            schema.require(connection, "source")
            with translated("source"):
                if not is_at_home(connection):
                    return
                prepare(connection)
                _purge(connection, config.retention).purge()
                self._compact(connection, config)

    def _compact(self, connection: psycopg.Connection, config: Config) -> None:
        limit, link = config.retention.compact_bytes, config.upstream.label
        if limit is None or size(connection) <= limit:
            return
        if live(connection, link).waiting_bytes <= max(limit, self._left * GROWN):
            return
        try:
            done = compact(connection, link, patience=PATIENCE)
        except Interrupted as error:
            log.info("backlog_not_compacted", link=link, reason=str(error), why=error.why)
            return
        self._left = live(connection, link).waiting_bytes
        log.info("backlog_compacted", link=link, before=done.changes_before, after=done.changes_after)


def keep_small(config: Config, ended: threading.Event) -> None:
    """Do what a service does for the log beside shipping, where none is at work; what is in the way is told once."""
    upkeep, told = Upkeep(), ""
    while not ended.wait(BUSY):
        try:
            upkeep.tidy(config)
            told = ""
        except DbsyncError as error:
            if str(error) != told:
                told = str(error)
                log.warning("log_not_tidied", reason=told)


def _purge(connection: psycopg.Connection, retention: RetentionConfig) -> Purge:
    return Purge(connection, keep=retention.keep_seconds, max_size=retention.max_bytes)
