"""The Debian package: made, installed, configured, started, upgraded, removed and purged, on a Debian that is forgotten again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest
from psycopg.conninfo import conninfo_to_dict

from dbsync.demo.server import Cluster
from tests.docs.manual import ROOT
from tests.release.tools import copy_checkout, locked_packages
from tests.support.databases import Database
from tests.support.machine import Machine, needs_debian
from tests.support.served import free_port
from tests.support.servers import own_cluster
from tests.support.service import PATIENCE, NotifySocket, until

PYTHON = ".".join(map(str, sys.version_info[:2]))
OLD, NEW = "7.8.9.dev1", "7.8.9"
_BUILD = """
import sys; from pathlib import Path; import deb
tree = Path(sys.argv[1])
for told in sys.argv[2:]:
    deb.program(tree, told)
    print(deb.write(tree, told, tree.parent))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Make the package of two versions, as ``make deb`` does."""
    needs_debian(PYTHON)
    copy = copy_checkout(tmp_path_factory.mktemp("deb") / "dbsync")
    tree = shutil.copytree(locked_packages(tmp_path_factory), copy / "build" / "tree")
    command = [sys.executable, "-c", _BUILD, str(tree), OLD, NEW]
    environ = {**os.environ, "PYTHONPATH": str(copy / "packaging")}
    done = subprocess.run(command, cwd=copy, env=environ, check=True, stdout=subprocess.PIPE, text=True)
    return [Path(line) for line in done.stdout.splitlines()]


@dataclass(frozen=True, kw_only=True)
class Site:
    """A machine, and a server with its two databases."""

    machine: Machine
    source: Database
    upstream: Database
    folder: Path
    port: int
    """Of the pages."""

    @property
    def log(self) -> Path:
        """Give the file of what the services said."""
        return self.folder / "service.log"

    def insert(self, identifier: str) -> None:
        """Make a row in the source."""
        self.source.sql("INSERT INTO clinic_subject (identifier, name) VALUES (%s, 'x')", (identifier,))

    def arrived(self) -> set[str]:
        """Say what is upstream."""
        return {row[0] for row in self.upstream.sql("SELECT identifier FROM clinic_subject")}

    @contextmanager
    def started(self, unit: str) -> Iterator[None]:
        """Start a service as its unit says; wait until it says that it is ready and alive, and see that it ends well."""
        settings = re.findall(r"^(\w+)=(.*)$", self.machine.run("cat", f"/lib/systemd/system/{unit}"), re.MULTILINE)
        environ = dict(value.split("=", 1) for name, value in settings if name == "Environment")
        told = dict(settings)
        program, user = told["ExecStart"], told["User"]
        environ["WATCHDOG_USEC"] = f"{told['WatchdogSec']}000000"
        path = self.folder / f"{unit}.notify"
        path.unlink(missing_ok=True)
        with NotifySocket(path) as systemd, self.log.open("ab") as log:
            path.chmod(0o666)
            words = self.machine.command(*program.split(), user=user, environ={**environ, **systemd.environ})
            process = subprocess.Popen(words, stdout=log, stderr=log)
            main = None
            try:
                assert {systemd.receive(), systemd.receive()} == {"READY=1", "WATCHDOG=1"}
                main = _child(process.pid)
                yield
                os.kill(main, signal.SIGTERM)
                assert process.wait(PATIENCE) == 0, self.log.read_text()
            finally:
                if process.poll() is None:
                    os.kill(main or process.pid, signal.SIGKILL)
                    process.wait(PATIENCE)


def _child(pid: int) -> int:
    """Give the program that runuser waits for: systemd would tell it, and nobody in between."""
    (found,) = psutil.Process(pid).children()
    return found.pid


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Give a machine on which nothing of dbsync is."""
    needs_debian(PYTHON)
    with (
        tempfile.TemporaryDirectory(prefix="dbsync-site-") as room,
        own_cluster(15, tcp=True) as cluster,
        Machine(Path(room)) as machine,
    ):
        folder = Path(room)
        folder.chmod(0o755)  # the service's user comes to its socket there; pytest's folders are the tester's alone
        yield Site(
            machine=machine,
            source=_clinic(cluster, "clinic"),
            upstream=_clinic(cluster, "community"),
            folder=folder,
            port=free_port(),
        )


def _clinic(cluster: Cluster, name: str) -> Database:
    cluster.create_database(name)
    made = Database(cluster=cluster, name=name)
    with made.connect() as connection:
        connection.execute((ROOT / "docker" / "clinic.sql").read_bytes())
    return made


def test_the_package_is_installed_configured_started_upgraded_and_purged(site: Site, packages: list[Path]) -> None:
    old, new = packages
    machine = site.machine
    assert [re.sub("_[a-z0-9]+[.]deb$", "", made.name) for made in (old, new)] == ["dbsync_7.8.9~dev1", "dbsync_7.8.9"]
    _holds_what_it_needs(new)

    said = machine.run("dpkg", "--install", str(old))
    assert "dbsync is installed. Next: dbsync init" in said
    assert machine.run("dbsync", "--version", user="dbsync") == f"dbsync {OLD}\n"
    assert machine.sh("stat -c '%U:%G %a' /etc/dbsync /etc/dbsync/pg_service.conf /var/lib/dbsync").split("\n")[:3] == [
        "root:dbsync 750",
        "root:dbsync 640",
        "dbsync:dbsync 750",
    ]
    assert "/usr/sbin/nologin" in machine.run("getent", "passwd", "dbsync")
    assert machine.sh("dpkg --verify dbsync") == ""

    _configure(site)
    machine.sh("DBSYNC_CONFIG=/etc/dbsync/dbsync.toml PGSERVICEFILE=/etc/dbsync/pg_service.conf; export DBSYNC_CONFIG PGSERVICEFILE;"
               " dbsync install-upstream; dbsync install-triggers")  # fmt: skip
    site.insert("S-1")
    with site.started("dbsync.service"):
        until(lambda: site.arrived() == {"S-1"}, "nothing is shipped")
    site.insert("S-2")

    before = machine.sh("cat /etc/dbsync/dbsync.toml /etc/dbsync/pg_service.conf /etc/default/dbsync")
    said = machine.run("dpkg", "--install", str(new))
    assert "dbsync was upgraded from 7.8.9~dev1" in said
    assert machine.run("dbsync", "--version") == f"dbsync {NEW}\n"
    assert machine.sh("cat /etc/dbsync/dbsync.toml /etc/dbsync/pg_service.conf /etc/default/dbsync") == before
    assert machine.sh("ls /etc/dbsync /usr/lib/dbsync | grep -E 'dpkg-|7.8.9.dev1' || true") == ""
    with site.started("dbsync.service"), site.started("dbsync-web.service"):
        until(lambda: site.arrived() == {"S-1", "S-2"}, "nothing is shipped")
        assert "Log in" in httpx2.get(f"http://127.0.0.1:{site.port}/login").text

    said = machine.run("dpkg", "--remove", "dbsync")
    assert "dbsync uninstall-triggers --drop-schema" in said
    assert machine.sh("ls /usr/lib/dbsync /usr/bin/dbsync 2>&1 || true").count("No such file") == 2
    assert machine.sh("test -f /etc/dbsync/dbsync.toml && echo kept") == "kept\n"

    said = machine.run("dpkg", "--purge", "dbsync")
    assert "DROP SCHEMA dbsync CASCADE" in said
    assert machine.sh("ls -d /etc/dbsync /var/lib/dbsync /etc/default/dbsync 2>&1 || true").count("No such file") == 3
    assert machine.sh("getent passwd dbsync || getent group dbsync || echo nobody") == "nobody\n"
    site.insert("S-3")
    assert site.source.value("SELECT count(*) FROM dbsync.change WHERE op = 'I'") > 0  # as it said: capture goes on
    assert not Path("/usr/bin/dbsync").exists()
    assert not Path("/etc/dbsync").exists()


def _configure(site: Site) -> None:
    """Write what an administrator writes, over what the package brought."""
    services = []
    for name, database in (("clinic", site.source), ("community", site.upstream)):
        found = conninfo_to_dict(database.dsn)
        services += [
            f"[{name}]",
            "host=127.0.0.1",
            f"port={found['port']}",
            f"dbname={found['dbname']}",
            f"user={found['user']}",
        ]
    written = {
        "/etc/dbsync/pg_service.conf": "\n".join(services) + "\n",
        "/etc/dbsync/dbsync.toml": (
            '[node]\nname = "field-07"\nsource = "service=clinic"\n[upstream]\nurl = "service=community"\n'
            f'[web]\nlisten = "127.0.0.1:{site.port}"\n[[tables]]\nname = "clinic_*"\n'
        ),
        "/etc/default/dbsync": "# ours\n",
    }
    for path, text in written.items():
        site.machine.run("sh", "-c", f"printf '%s' \"$TEXT\" > {path}", environ={"TEXT": text})


def _holds_what_it_needs(package: Path) -> None:
    """Look at the list of a package's files: all that the services need, and nothing that only developers do."""
    listed = subprocess.run(["dpkg-deb", "--contents", str(package)], check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1].removeprefix(".") for line in listed.splitlines()}
    units = {f"/lib/systemd/system/dbsync{which}.service" for which in ("", "-serve", "-relay", "-web")}
    assert {"/usr/bin/dbsync", *units} <= names
    assert "/lib/systemd/system/dbsync-apply.service" not in names
    assert any(name.endswith("/dbsync/sql/apply.sql") for name in names)
    assert any(name.endswith("/psycopg_binary/__init__.py") for name in names)
    assert not any("/pytest/" in name or "/usr/lib/dbsync/bin" in name for name in names)
    conffiles = subprocess.run(
        ["dpkg-deb", "--info", str(package), "conffiles"], check=True, capture_output=True, text=True
    ).stdout
    assert set(conffiles.split()) == {"/etc/default/dbsync", "/etc/dbsync/pg_service.conf"}
