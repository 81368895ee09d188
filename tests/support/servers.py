"""The PostgreSQL servers of one test worker, started when first asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from dbsync.demo.server import Cluster, ClusterOptions, ServerBinaries, find

REQUIRE = "DBSYNC_TEST_REQUIRE"
"""Versions whose absence is a failure: ``DBSYNC_TEST_REQUIRE=15,18`` in CI."""
MEMORY = Path("/dev/shm")
ROOM = 6 << 30
"""Bytes."""


def binaries(version: int) -> ServerBinaries:
    """Find the server programs of a version; skip the test where there are none, or fail it where CI requires them."""
    found = find(version)
    if found is None:
        reason = f"PostgreSQL {version} is not installed"
        if str(version) in os.environ.get(REQUIRE, "").split(","):
            pytest.fail(f"{reason}, and {REQUIRE} asks for it")
        pytest.skip(reason)
    return found


class Servers:
    """One cluster per version for the whole session, fsync off; tests make databases in it, and roles with care.

    Whoever wants to kill, stop or reconfigure a server starts one of their own with :func:`own_cluster`.
    """

    def __init__(self) -> None:
        self._running: dict[int, Cluster] = {}
        self.templates: dict[tuple[int, str], str] = {}
        """Databases made once to be cloned, by version and purpose."""
        self._left: list[tuple[Cluster, str]] = []

    def cluster(self, version: int) -> Cluster:
        """Give the running cluster of a version."""
        if version not in self._running:
            cluster = own_cluster(version)
            cluster.__enter__()
            self._running[version] = cluster
        return self._running[version]

    def leave(self, databases: Sequence[tuple[Cluster, str]]) -> None:
        """Drop the databases that were left the last time, and these the next time.

        Of a session that was closed just now a process is still there, and PostgreSQL looks only every 0.1 s whether it is gone.
        """
        for cluster, name in self._left:
            cluster.drop_database(name)
        self._left = list(databases)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for cluster in self._running.values():
            cluster.close()


def own_cluster(version: int, *, durable: bool = False, tcp: bool = False, **settings: str) -> Cluster:
    """Make a cluster that is the test's alone, not yet started: ``with own_cluster(15) as cluster:``."""
    options = {"wal_level": "logical", "max_connections": "100", "max_wal_size": "256MB"} | settings
    connections = int(options.pop("max_connections"))
    under = None if durable else in_memory()
    return Cluster(
        binaries(version),
        ClusterOptions(durable=durable, tcp=tcp, max_connections=connections, under=under, settings=options),
    )


def in_memory() -> Path | None:
    """Give a folder that is in memory, where there is one with room: each test makes databases anew, which a disk feels."""
    if os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
        return MEMORY
    return None
