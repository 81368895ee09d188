"""PgBouncer before a test's cluster; .ci/run brings the program along from Debian's package."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from dbsync.demo.server import Cluster, _free_port
from tests.support.servers import REQUIRE
from tests.support.service import PATIENCE, until

SETTINGS = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "auth_type": "trust",
    "default_pool_size": "4",
    "server_round_robin": "1",  # the next transaction is another process's
}


@contextmanager
def pgbouncer(cluster: Cluster, **settings: str) -> Iterator[str]:
    """Give the connection string, without a database, of a PgBouncer that runs; ``pool_mode`` is among its settings.

    It runs as the server does, for it refuses to be root.
    """
    folder, port = cluster.directory, _free_port()
    (folder / "users").write_text('"postgres" ""\n')
    told = SETTINGS | {"listen_port": str(port), "auth_file": str(folder / "users")} | settings
    lines = [f"{name} = {value}" for name, value in told.items()]
    server = f"* = host={folder} port={cluster.port} user=postgres"
    (folder / "pgbouncer.ini").write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [_program(), str(folder / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, **cluster._as_account(),
        )  # fmt: skip
    dsn = make_conninfo("", host="127.0.0.1", port=port, user="postgres")
    try:
        until(lambda: _answers(dsn), "PgBouncer does not answer")
        yield dsn
    finally:
        process.kill()
        process.wait(PATIENCE)


def _program() -> str:
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None:
        reason = "pgbouncer is not installed"
        if os.environ.get(REQUIRE):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def _answers(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
