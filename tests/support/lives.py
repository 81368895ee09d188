"""Databases that are backed up, restored, copied and reloaded, as a DBA does it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dbsync.demo.server import Cluster, StopMode
from tests.support.databases import Database
from tests.support.servers import own_cluster

UNKNOWN_OPTION = re.compile(r"^ALTER TABLE .* SET \(pg_attver=\d+\);$", re.MULTILINE)
"""PostgreSQL 15.20 notes it on every column, and pg_dump 18.6 tells it to a server that does not take it."""


def back_up(cluster: Cluster, name: str = "backup") -> Path:
    """Copy the data directory of a cluster, stopped for as long as it takes."""
    saved = cluster.directory / name
    cluster.stop(StopMode.FAST)
    _copy(cluster.data, saved)
    cluster.start()
    return saved


def restore(cluster: Cluster, saved: Path) -> None:
    """Put a backup in place of what is there."""
    cluster.stop(StopMode.FAST)
    shutil.rmtree(cluster.data)
    _copy(saved, cluster.data)
    cluster.start()


@contextmanager
def copied(cluster: Cluster, saved: Path) -> Iterator[Cluster]:
    """Give a second machine with the same data directory."""
    twin = own_cluster(cluster.binaries.version)
    try:
        settings = (twin.data / "postgresql.conf").read_bytes()
        shutil.rmtree(twin.data)
        _copy(saved, twin.data)
        (twin.data / "postgresql.conf").write_bytes(settings)  # its own socket
        with twin:
            yield twin
    except BaseException:
        twin.close()
        raise


def dump_and_reload(old: Database, new: Cluster, folder: Path, *, style: str = "custom") -> Database:
    """Bring a database to another cluster, with the new version's programs: roles, then pg_restore, or psql."""
    bindir = new.binaries.bindir
    roles = _run(bindir, "pg_dumpall", "--roles-only", "-d", old.cluster.dsn())
    _run(bindir, "psql", "-q", "-d", new.dsn(), stdin=roles)  # says that the superuser is there already
    name = f"{old.name}_reloaded"
    new.create_database(name)
    if style == "custom":
        dump = folder / "dump"
        _run(bindir, "pg_dump", "-Fc", "-f", str(dump), "-d", old.dsn)
        script = _run(bindir, "pg_restore", "-f", "-", str(dump))
    else:
        script = _run(bindir, "pg_dump", "--inserts", "-d", old.dsn)
    if style == "custom" and not UNKNOWN_OPTION.search(script):
        _run(bindir, "pg_restore", "--exit-on-error", "-d", new.dsn(name), str(dump))
    else:
        script = UNKNOWN_OPTION.sub("", script)
        _run(bindir, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", new.dsn(name), stdin=script)
    return Database(cluster=new, name=name)


def upgrade(old: Cluster, new: Cluster) -> None:
    """Bring all of a cluster to one of a newer version with pg_upgrade; ``new`` has never held anything."""
    if UNKNOWN_OPTION.search(_run(new.binaries.bindir, "pg_dumpall", "--schema-only", "-d", old.dsn())):
        pytest.skip(
            "this older PostgreSQL keeps an option of columns that the newer one does not know: pg_upgrade refuses it"
        )
    old.stop(StopMode.FAST)
    new.stop(StopMode.FAST)
    as_server = new._as_account()
    bindir = new.binaries.bindir
    run = subprocess.run(  # the older version has none
        [str(bindir / "pg_checksums"), "--disable", "--no-sync", "-D", str(new.data)],
        capture_output=True, text=True, check=False, **as_server,
    )  # fmt: skip
    assert run.returncode == 0 or "already disabled" in run.stderr, run.stderr
    done = subprocess.run(
        [
            str(bindir / "pg_upgrade"), "--old-bindir", str(old.binaries.bindir), "--new-bindir", str(bindir),
            "--old-datadir", str(old.data), "--new-datadir", str(new.data), "--username", "postgres",
            "--socketdir", str(new.directory), "--no-sync",
        ],
        capture_output=True, text=True, check=False, **as_server,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    new.start()


def _copy(there: Path, here: Path) -> None:
    """Copy a data directory with its owner."""
    subprocess.run(["cp", "-a", str(there), str(here)], check=True)


def _run(bindir: Path, program: str, *arguments: str, stdin: str | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(
        [str(bindir / program), *arguments], input=stdin, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
