"""Databases that live as long as one test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.abc import QueryNoTemplate

from dbsync.demo.server import Cluster
from tests.support.servers import Servers

MIXTURE = (15, 18)
ONE_MIXTURE = pytest.mark.parametrize("pair", [MIXTURE], indirect=True, ids=["15->18"])
"""For tests whose answer does not depend on the servers' versions."""

Row = tuple[Any, ...]
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database on a running cluster."""

    cluster: Cluster
    name: str

    @property
    def dsn(self) -> str:
        """Give its connection string."""
        return self.cluster.dsn(self.name)

    @property
    def version(self) -> int:
        """Give the server's major version."""
        return self.cluster.binaries.version

    def connect(self, **parameters: str | int) -> psycopg.Connection[Row]:
        """Open an autocommit session; parameters go into the connection string (``user=``, ``options=``)."""
        return psycopg.connect(self.cluster.dsn(self.name, **parameters), autocommit=True)

    def sql(self, query: QueryNoTemplate, params: Sequence[object] | None = None) -> list[Row]:
        """Run one statement in a session of its own and give its rows; none for a statement that returns none."""
        with self.connect() as connection:
            cursor = connection.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def script(self, statements: LiteralString) -> None:
        """Run many statements, separated by semicolons, as one transaction."""
        with self.connect() as connection:
            connection.execute(statements)

    def value(self, query: QueryNoTemplate, params: Sequence[object] | None = None) -> Any:
        """Run a query and give the only column of its only row."""
        ((value,),) = self.sql(query, params)
        return value


@dataclass(kw_only=True)
class Pair:
    """A source and its upstream, on servers of two versions."""

    source: Database
    upstream: Database

    @property
    def versions(self) -> tuple[int, int]:
        """Give the servers' versions."""
        return self.source.version, self.upstream.version


class EmptyPair(Pair):
    """One whose databases are empty, and made when they are first asked for: many tests only want to know the versions."""

    def __init__(self, databases: Databases, versions: tuple[int, int]) -> None:
        self._databases = databases
        self._versions = versions

    @property
    def versions(self) -> tuple[int, int]:
        """Give the servers' versions."""
        return self._versions

    @cached_property
    def source(self) -> Database:  # type: ignore[override]  # asked for like a field
        """Make the source."""
        return self._databases.create(self._versions[0], name="source")

    @cached_property
    def upstream(self) -> Database:  # type: ignore[override]
        """Make the upstream."""
        return self._databases.create(self._versions[1], name="upstream")


class Databases:
    """Make databases, and have them all dropped after the test."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self._made: list[Database] = []

    def create(self, version: int = 18, *, name: str = "db", template: str | None = None) -> Database:
        """Create a database on the server of this version, empty or as a copy of a template."""
        cluster = self.servers.cluster(version)
        database = Database(cluster=cluster, name=f"{name}_{next(_numbers)}")
        cluster.create_database(database.name, template)
        self._made.append(database)
        return database

    def drop_all(self) -> None:
        """Have what was created dropped, sessions in it or not."""
        self.servers.leave([(database.cluster, database.name) for database in self._made])
        self._made.clear()
