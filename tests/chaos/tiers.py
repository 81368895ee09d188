"""Two laptops, a community server and a central one, each in a cluster of its own, each upstream behind a proxy."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.service.status import Status, status
from tests.chaos import blocks, shared
from tests.chaos.blocks import Deed, Journal
from tests.fault import workload
from tests.fault.forks import Forks
from tests.integration.commands import dbsync
from tests.support.databases import Database
from tests.support.proxy import Proxy

CONFIG = """
[node]
name = "{node}"
source = "{source}"
[upstream]
url = "{upstream}"
name = "{link}"
[batch]
max_changes = {batch}
[service]
poll_interval = 0.05
retry_max = 1.0
silence = 5.0
[[tables]]
name = "site"
mode = "lookup"
"""
SESSIONS = """
SELECT pid, application_name, state, wait_event_type, wait_event, now() - xact_start AS transaction, now() - query_start AS statement,
       pg_blocking_pids(pid) AS behind, left(query, 100)
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
TABLES = ("subject", "visit", "crf", "tally", "person", "sample", "shared")


def prepare(database: Database, first_id: int) -> None:
    """Give a database the tables, and ids of its own."""
    with database.connect() as session:
        session.execute(workload.SCHEMA.encode())
        session.execute(workload.SEED.format(first_id).encode())
        session.execute(blocks.SCHEMA)
        session.execute(shared.SCHEMA)
        for table in ("subject", "person", "sample", "shared"):
            session.execute("SELECT setval(%s, %s)", [f"{table}_id_seq", first_id * 1000 + 100])


class BulkWriter:
    """Writes blocks at one node in a thread of its own, as its journal says; may be held while something is done."""

    def __init__(self, database: Database, journal: Journal, pace: Pace) -> None:
        self.journal = journal
        self.trouble: list[BaseException] = []
        self.held = threading.Lock()
        """Whoever has it may be sure that nothing is under way."""
        self._database = database
        self._pace = pace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._doubtful: Deed | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(120)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._database.connect() as session:
                    session.execute("SET synchronous_commit = on")
                    while not self._stop.is_set():
                        with self.held:
                            self._write(session)
                        self._pace.wait(self._stop)
            except psycopg.OperationalError:  # the server was killed
                self._stop.wait(0.2)
            except BaseException as error:
                self.trouble.append(error)
                raise

    def settle(self) -> None:
        """Find out whether the transaction that was cut was committed; to be called while it is held."""
        if self._doubtful is not None:
            deed, self._doubtful = self._doubtful, None
            if self._database.sql("SELECT FROM done WHERE number = %s", [deed.state.version]):
                self._note(deed)

    def _write(self, session: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.settle()
        deed = self.journal.next()
        self._doubtful = deed
        try:
            deed.run(session)
        except (errors.DeadlockDetected, errors.LockNotAvailable):
            self._doubtful = None
            return
        self._doubtful = None
        self._note(deed)

    def _note(self, deed: Deed) -> None:
        self.journal.note(deed)
        self._pace.written(deed.changes)


@dataclass(kw_only=True)
class Pace:
    """Spreads so many changes over so many seconds."""

    changes: int
    seconds: float
    begun: float = field(default_factory=time.monotonic)
    total: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def written(self, changes: int) -> None:
        """Count what was committed."""
        with self._lock:
            self.total += changes

    def wait(self, stop: threading.Event) -> None:
        """Wait until it is time for more."""
        while not stop.is_set() and self.total >= self.changes * (time.monotonic() - self.begun) / self.seconds:
            stop.wait(0.1)

    @property
    def done(self) -> bool:
        """Say whether all was written."""
        return self.total >= self.changes


@dataclass(kw_only=True)
class Node:
    """One node: its database, what is upstream of it, and its service."""

    name: str
    database: Database
    upstream: Database
    folder: Path
    link: str
    batch: int = 5_000
    saved: Path | None = None
    """A backup of its data directory."""
    happened: Counter[str] = field(default_factory=Counter)
    _stack: ExitStack = field(default_factory=ExitStack)
    _service: int | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir()
        self.line = self._stack.enter_context(Proxy(self.upstream))
        self._forks: Forks | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def configure(self) -> None:
        """Write the dbsync.toml."""
        text = CONFIG.format(
            node=self.name,
            source=self.database.dsn,
            upstream=make_conninfo(self.line.dsn, application_name=self.session),
            link=self.link,
            batch=self.batch,
        )
        text += "".join(f'[[tables]]\nname = "{name}"\n' for name in TABLES)
        (self.folder / "dbsync.toml").write_text(text, encoding="utf-8")

    def install(self) -> None:
        """Install at both ends."""
        self.configure()
        self.must("install-upstream")
        self.must("install-triggers")

    def must(self, *words: str) -> str:
        """Run a command that has to exit 0."""
        done = dbsync(self.folder, *words)
        assert done.code == 0, f"{self.name}: dbsync {' '.join(words)}: {done.code}\n{done.out}{done.err}"
        return done.out

    def serve(self) -> None:
        """See to it that the service runs."""
        if self._forks is None:
            self._forks = self._stack.enter_context(Forks(self.folder))
        if not self.serves:
            if self._service is not None:
                self._forks.forget(self._service)
                self.happened["services that ended by themselves"] += 1
            self._service = self._forks.start()

    @property
    def serves(self) -> bool:
        """Say whether the service runs."""
        return self._service is not None and Path(f"/proc/{self._service}").exists()

    def kill_service(self) -> bool:
        """Kill the service; say whether there was one."""
        found = self.serves
        if found and self._service is not None and self._forks is not None:
            self._forks.kill(self._service)
            while Path(f"/proc/{self._service}").exists():
                time.sleep(0.01)
            self._service = None
        return found

    @property
    def config(self) -> Config:
        """Read its configuration."""
        return load(self.folder / "dbsync.toml", environ=os.environ)

    @property
    def status(self) -> Status:
        """Give what status shows."""
        return status(self.config)

    @property
    def is_upstream(self) -> bool:
        """Say whether the upstream has all that it gave receipts for; one that was restored has not, and nobody may know yet."""
        asked = "SELECT incarnation, max(number) FROM dbsync.sent WHERE link = %s AND acknowledged_at IS NOT NULL GROUP BY 1"
        there = "SELECT coalesce(max(number), 0) FROM dbsync.receipt WHERE incarnation = %s AND link = %s"
        return all(
            self.upstream.value(there, [incarnation, self.link]) >= number
            for incarnation, number in self.database.sql(asked, [self.link])
        )

    @property
    def session(self) -> str:
        """Name its sessions upstream; those of a copy of it have another name."""
        return f"chaos {self.folder.name}"

    def wait_until_gone(self) -> None:
        """Wait until the killed service's session upstream has ended."""
        self.line.cut()
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        end = time.monotonic() + 60
        while self.upstream.value(asked, [self.session]):
            assert time.monotonic() < end, f"the upstream goes on working for {self.name}"
            time.sleep(0.05)

    def trouble(self) -> str:
        """Give what the service said last, and who is at work upstream and waits for whom."""
        sessions = self.upstream.sql(SESSIONS)
        with contextlib.suppress(OSError):
            return "\n".join([(self.folder / "service.log").read_text()[-2000:], *map(str, sessions)])
        return "\n".join(map(str, sessions))
