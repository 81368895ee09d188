"""Disks that are full, and files that may not grow."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbsync.demo.binaries import server_account
from dbsync.demo.server import Cluster
from tests.support.databases import Database

MEGABYTE = 1 << 20


class SmallDisk:
    """A file system of a few megabytes with a tablespace on it: ``small``."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._ballast = place / "ballast"

    def hold(self, database: Database, *tables: str) -> None:
        """Put tables there, with their indexes."""
        with database.connect() as session:
            for table in tables:
                session.execute(f"ALTER TABLE {table} SET TABLESPACE small".encode())

    def fill(self) -> None:
        """Leave not a byte free."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass

    def free(self) -> None:
        """Make room."""
        self._ballast.unlink()


@contextmanager
def small_disk(cluster: Cluster, megabytes: int = 16) -> Iterator[SmallDisk]:
    """Mount one for a cluster; skip the test where that is not permitted, as in a container without privileges."""
    place = cluster.directory / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        inside = place / "tablespace"
        inside.mkdir(mode=0o700)
        account = server_account()
        if account is not None:
            os.chown(inside, account.uid, account.gid)
        Database(cluster=cluster, name="postgres").sql(f"CREATE TABLESPACE small LOCATION '{inside}'".encode())
        yield SmallDisk(place)
    finally:
        cluster.close()
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def files_limited(size: int) -> Iterator[None]:
    """Let no file of a server that is started inside grow beyond a size; the write-ahead log's have 16 MB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
