"""``dbsync serve``, and nodes that it knows."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from dbsync.config.load import parse
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from dbsync.web.app import Server
from tests.support.certificates import Certificate
from tests.support.databases import Database
from tests.support.service import ServiceProcess, until


def free_port() -> int:
    """Find a port of this computer that nobody listens at.

    It is none of those that connections get for themselves: one of another test would have it while its server is down.
    """
    first_of_theirs = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(first_of_theirs // 2, first_of_theirs)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def serving(
    folder: Path,
    database: Database,
    *,
    keys: Keys,
    more: str = "",
    port: int | None = None,
    tls: Certificate | None = None,
) -> Iterator[tuple[ServiceProcess, str]]:
    """Serve a database that has dbsync's schema; give the process and its address.

    ``more`` is what stands in the section [serve] and behind it. A server that was killed is begun again with its ``port``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "keys").exists():
        keys.save(folder / "keys")
    port = port or free_port()
    if tls is not None:
        more = f'certificate = "{tls.certificate}"\nkey = "{tls.key}"\n{more}'
    (folder / "dbsync.toml").write_text(
        f'[node]\nname = "community"\nsource = "{database.dsn}"\n[serve]\nlisten = "127.0.0.1:{port}"\n{more}\n'
    )
    process = ServiceProcess(folder, command=("serve",))
    before = len(process.said("serving")) if process.log.exists() else 0
    with process:
        process.wait_for("serving", before + 1)
        yield process, f"{'https' if tls else 'http'}://127.0.0.1:{port}"


def admit(database: Database, name: str, keys: Keys, *, passes_on: bool = False, role: Role = Role.NODE) -> None:
    """Let a node in, as an invitation and its code would."""
    with database.connect() as connection:
        secret = registry.invite(connection, name, passes_on=passes_on, expires=timedelta(days=1), role=role)
        registry.enrol(connection, name, secret, keys.public)


@contextmanager
def answering(
    database: Database, *, keys: Keys, port: int, tls: Certificate | None = None, without: str = ""
) -> Iterator[None]:
    """Serve a database in this very process; ``without`` is a path that an older version does not know."""
    text = f'[node]\nname = "community"\nsource = "{database.dsn}"\n'
    config = parse(text, path="dbsync.toml", environ={})
    server = Server(config=config, keys=keys)
    app = server.app()
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") != without]
    server.open()
    try:
        with in_thread(app, port, tls=tls):
            yield
    finally:
        server.close()


@contextmanager
def in_thread(app: Starlette, port: int, *, tls: Certificate | None = None) -> Iterator[None]:
    """Let an application answer at a port of this computer while inside."""
    settings = uvicorn.Config(app, port=port, log_config=None, lifespan="off")
    if tls is not None:
        settings.ssl_certfile, settings.ssl_keyfile = str(tls.certificate), str(tls.key)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the server does not start")
        yield
    finally:
        server.should_exit = True
        thread.join()
