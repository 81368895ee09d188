"""The replicators that are compared: how each is set up, started and stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Protocol

from psycopg import sql

from dbsync.errors import DbsyncError
from tests.benchmarks.node import Node
from tests.support.databases import Database

FIRST_UPSTREAM_ID = 5_000_000
_PATIENCE = 60.0
_HOUR = 3600.0


class Route(Protocol):
    """From one source to one upstream; set up and stopped when made."""

    name: ClassVar[str]
    source: Database
    upstream: Database

    def start(self) -> int | None:
        """Start the replicator; give its process id, None where it is the server."""

    def alive(self) -> None:
        """Raise when the replicator has ended by itself."""

    def stop(self) -> None:
        """Stop it and wait for its end; capture goes on."""

    def pause(self) -> None:
        """Let it ship nothing, as somebody would who wants it to go on later; capture goes on."""

    def resume(self) -> None:
        """Let it ship again."""

    def clean(self) -> None:
        """Let it do what it would do when idle, so that the next drain begins as the first did."""

    def close(self) -> None:
        """Stop it for good: the databases can be dropped."""


class LogicalRoute:
    """PostgreSQL's publication and subscription."""

    name: ClassVar[str] = "logical"

    def __init__(self, source: Database, upstream: Database, _folder: Path) -> None:
        self.source = source
        self.upstream = upstream
        publish(source)
        subscription = sql.SQL("CREATE SUBSCRIPTION bench CONNECTION {} PUBLICATION bench WITH (copy_data = false)")
        upstream.sql(subscription.format(sql.Literal(source.dsn)))
        self.stop()

    def start(self) -> None:
        """Enable the subscription."""
        self.upstream.sql("ALTER SUBSCRIPTION bench ENABLE")

    def alive(self) -> None:
        """Take it as alive: the server starts its workers anew."""

    def stop(self) -> None:
        """Disable the subscription; its slot stays."""
        self.upstream.sql("ALTER SUBSCRIPTION bench DISABLE")
        _until(self._idle, "logical replication did not stop")

    def pause(self) -> None:
        """Disable the subscription: there is nothing else that holds it."""
        self.stop()

    def resume(self) -> None:
        """Enable it."""
        self.start()

    def clean(self) -> None:
        """Leave it as it is: it has nothing to purge."""

    def close(self) -> None:
        """Drop the subscription, and with it the slot at the source."""
        self.stop()
        self.upstream.sql("DROP SUBSCRIPTION bench")

    def _idle(self) -> bool:
        workers = self.upstream.value("SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL")
        active = self.source.value("SELECT count(*) FROM pg_replication_slots WHERE active")
        return not (workers or active)


class DbsyncRoute:
    """dbsync by its own commands, with ids upstream that agree with no id of the source."""

    name: ClassVar[str] = "dbsync"

    def __init__(self, source: Database, upstream: Database, folder: Path) -> None:
        self.source = source
        self.upstream = upstream
        upstream.sql(
            "SELECT setval(pg_get_serial_sequence(name, 'id'), %s)"
            " FROM unnest(ARRAY['subject', 'visit', 'crf']) AS tables (name)",
            [FIRST_UPSTREAM_ID],
        )
        self._node = Node(folder, source=source.dsn, upstream=upstream.dsn)
        self._node.prepare("install-upstream")
        self._node.prepare("install-triggers")

    def start(self) -> int:
        """Start ``dbsync run``."""
        return self._node.start()

    def alive(self) -> None:
        """Raise what the service said last, if it has ended."""
        self._node.alive()

    def stop(self) -> None:
        """End the service as systemd would."""
        self._node.stop()

    def pause(self) -> None:
        """Have it paused; the service goes on looking whether it still is."""
        self._node.prepare("pause")

    def resume(self) -> None:
        """Have it go on; it looks every fifth of a second."""
        self._node.prepare("resume")

    def clean(self) -> None:
        """Purge what has a receipt."""
        self._node.prepare("run", "--once")

    def close(self) -> None:
        """End the service, if it runs."""
        self._node.stop()

    def backfill(self) -> None:
        """Put all rows that the triggers have not seen into the change log."""
        self._node.command("backfill", patience=_HOUR)

    def ids_differ(self) -> bool:
        """Say whether the upstream gave rows ids of its own."""
        return bool(
            self.upstream.value(
                "SELECT min(id) > %s FROM (SELECT id FROM subject UNION ALL SELECT id FROM visit"
                " UNION ALL SELECT id FROM crf) ids",
                [FIRST_UPSTREAM_ID],
            )
        )


def publish(source: Database) -> None:
    """Make the publication ``bench`` of the study's tables."""
    source.sql("CREATE PUBLICATION bench FOR TABLE site, subject, visit, crf")


def _until(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise DbsyncError(complaint)
        time.sleep(0.05)
