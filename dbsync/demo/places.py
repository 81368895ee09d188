"""The machines of the story: a server, and laptops that reach it over a network which can be cut."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from dbsync.demo.application import Application
from dbsync.demo.processes import Answer, answer, clean_environment, dbsync, dbsync_service, stop
from dbsync.demo.server import SUPERUSER, Cluster
from dbsync.errors import DbsyncError
from dbsync.service.backlog import backlog

DATABASE = "clinic"
UPSTREAM = "community"

_IN_A_HURRY = """
[service]
retry_max = 0.5   # the demo is in a hurry: look for a lost network twice a second
"""


@dataclass(kw_only=True)
class Place:
    """A machine with a PostgreSQL server of its own, on which the clinic's application runs."""

    name: str
    cluster: Cluster
    application: Application
    folder: Path

    @property
    def dsn(self) -> str:
        """Give the connection string of its database."""
        return self.cluster.dsn(DATABASE)

    def ask(self, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask its database something."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(query, parameters).fetchall()

    def value(self, query: LiteralString, *parameters: object) -> Any:
        """Ask its database for one value."""
        ((value,),) = self.ask(query, *parameters)
        return value


@dataclass(kw_only=True)
class Laptop(Place):
    """A place with dbsync installed; its folder holds dbsync.toml and the pg_service.conf that names both databases.

    Its road to the server is a symbolic link to the directory of the server's socket: without it there is no network.
    """

    person: str
    upstream: Place
    keep: bool = False
    service: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def config(self) -> Path:
        """Give the file that ``dbsync init`` writes."""
        return self.folder / "dbsync.toml"

    @property
    def environment(self) -> Mapping[str, str]:
        """Give the environment of its commands."""
        return clean_environment() | {"PGSERVICEFILE": str(self.folder / "pg_service.conf")}

    def unpack(self) -> None:
        """Tell libpq where both databases are, and find the network."""
        sections = (
            (DATABASE, self.cluster.directory, self.cluster.port),
            (UPSTREAM, self._road, self.upstream.cluster.port),
        )
        (self.folder / "pg_service.conf").write_text(
            "".join(
                f"[{name}]\nhost={host}\nport={port}\nuser={SUPERUSER}\ndbname={DATABASE}\n\n"
                for name, host, port in sections
            )
        )
        self.find_network()

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command of dbsync."""
        return dbsync(words, folder=self.folder, environment=self.environment)

    def command(self, *words: str) -> Answer:
        """Run a command of dbsync to its end."""
        return answer(self.begin(*words))

    def hurry(self) -> None:
        """Let the service look for a lost network more often than a real one would."""
        with self.config.open("a") as file:
            file.write(_IN_A_HURRY)

    def start_service(self) -> None:
        """Start ``dbsync run``."""
        self.service = dbsync_service(
            folder=self.folder, environment=self.environment, log=self.folder / "dbsync-run.log", keep=self.keep
        )

    def stop_service(self) -> None:
        """Stop ``dbsync run``, if it runs."""
        if self.service is not None:
            stop(self.service)

    def find_network(self) -> None:
        """Be where the server can be reached."""
        self._road.symlink_to(self.upstream.cluster.directory)

    def lose_network(self) -> None:
        """Be where the server cannot be reached: what was connected breaks."""
        self._road.unlink()
        self.upstream.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", f"dbsync {self.name}"
        )

    def state(self) -> str:
        """Give the state of its link; while the service should run, its end is an error."""
        if self.service is not None and self.service.poll() is not None:
            raise DbsyncError("dbsync run ended by itself", where=self.name)
        return str(self.value("SELECT coalesce(max(state), 'new') FROM dbsync.status WHERE link = %s", UPSTREAM))

    def pending(self) -> int:
        """Count the changes that the server has not acknowledged."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            waiting = backlog(connection, UPSTREAM)
        return sum(table.changes for table in waiting.tables.values())

    def is_settled(self) -> bool:
        """Say whether the server has everything."""
        return self.state() == "streaming" and not self.pending()

    @property
    def _road(self) -> Path:
        return self.folder / "network"
