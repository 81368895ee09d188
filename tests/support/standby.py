"""A streaming standby of a test's cluster, and what a DBA does with it when the primary is gone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dbsync.demo.server import Cluster
from tests.support.servers import own_cluster
from tests.support.service import until


@contextmanager
def standby_of(primary: Cluster) -> Iterator[Cluster]:
    """Give a hot standby that follows a running primary without the primary waiting for it."""
    standby = own_cluster(primary.binaries.version)
    try:
        settings = (standby.data / "postgresql.conf").read_bytes()
        shutil.rmtree(standby.data)
        done = subprocess.run(
            [
                str(primary.binaries.bindir / "pg_basebackup"), "-D", str(standby.data), "-d", primary.dsn(),
                "--checkpoint", "fast", "--no-sync", "--write-recovery-conf",
            ],
            capture_output=True, text=True, check=False, **standby._as_account(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (standby.data / "postgresql.conf").write_bytes(settings)  # its own socket
        with standby:
            yield standby
    except BaseException:
        standby.close()
        raise


def catch_up(primary: Cluster, standby: Cluster) -> None:
    """Wait until the standby has everything that is committed on its primary."""
    (reached,) = _ask(primary, "SELECT pg_current_wal_lsn()::text")
    until(
        lambda: _ask(standby, f"SELECT pg_last_wal_replay_lsn() >= '{reached}'") == (True,),
        "the standby does not follow",
    )


def cut_off(standby: Cluster) -> None:
    """Let the standby hear nothing of its primary any more, which is not told of it."""
    with psycopg.connect(standby.dsn(), autocommit=True) as session:
        session.execute("ALTER SYSTEM SET primary_conninfo = ''")
        session.execute("SELECT pg_reload_conf()")
    until(lambda: _ask(standby, "SELECT count(*) FROM pg_stat_wal_receiver") == (0,), "the standby still follows")


def promote(standby: Cluster) -> None:
    """Make the standby the primary."""
    assert _ask(standby, "SELECT pg_promote()") == (True,)


def either(database: str, *clusters: Cluster) -> str:
    """Give the connection string that finds whichever of the servers takes writes."""
    each = [conninfo_to_dict(cluster.dsn(database)) for cluster in clusters]
    together = {name: ",".join(str(one[name]) for one in each) for name in ("host", "port")}
    return make_conninfo(
        "",
        **{**each[0], **together, "target_session_attrs": "read-write"},
    )


def _ask(cluster: Cluster, question: str) -> tuple[object, ...]:
    with psycopg.connect(cluster.dsn(), autocommit=True) as session:
        row = session.execute(question.encode()).fetchone()
    assert row is not None
    return row
