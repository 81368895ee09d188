"""Running the server: uvicorn, TLS by itself or behind a proxy, and an end that waits for the batches under way."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from starlette.applications import Starlette

from dbsync import schema
from dbsync.config.models import Config, ServeConfig
from dbsync.errors import ConfigError
from dbsync.identity.keys import Keys
from dbsync.postgres import connect
from dbsync.service.intake import taking_in
from dbsync.service.notify import notify
from dbsync.web.app import Server

BACKLOG = 2048
GRACE = 100
"""Seconds in which answers are still given once the server was told to stop; batches that take longer are finished without.
systemd waits a little longer, see packaging/systemd/dbsync.service."""
IDLE = 10
"""Seconds that a connection is kept which nobody uses."""
CROWD = 500
"""Requests at the same time; more are told to come again."""

log = structlog.get_logger()


def serve(config: Config) -> None:
    """Serve until told to stop. Raises ConfigError where nodes would not be safe, SchemaVersionError without our schema."""
    keys = Keys.load(Path(config.node.keys))
    refuse_in_the_clear(config.serve)  # before the database is asked
    with connect(config.node.source, name="upstream") as connection:
        schema.require(connection, "upstream")
    server = Server(config=config, keys=keys)
    with ready(server.app(), config.serve) as run:
        server.open()
        try:
            with taking_in(config):
                run()
        finally:
            server.close()


@contextmanager
def ready(app: Starlette, config: ServeConfig) -> Iterator[Callable[[], None]]:
    """Listen, and give what answers until told to stop. Raises ConfigError where nodes would not be safe."""
    refuse_in_the_clear(config)
    settings = _settings(app, config)
    with _listening(config) as listening:
        yield lambda: _Announced(settings).run(sockets=[listening])


def _settings(app: Starlette, config: ServeConfig) -> uvicorn.Config:
    """Make uvicorn's settings. Raises ConfigError where the certificate cannot be used."""
    made = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        http="h11",
        ws="none",
        ssl_certfile=config.certificate,
        ssl_keyfile=config.key,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=CROWD,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
    )
    try:
        made.load()
    except OSError as error:
        raise ConfigError(
            "the certificate or its key cannot be used",
            where="[serve]",
            why=(error.strerror or str(error)).lower(),
            hint="certificate and key name two files in PEM that belong together, the key without a passphrase",
        ) from None
    return made


def _listening(config: ServeConfig) -> socket.socket:
    """Listen, so that whoever is in the way is told of by name. Raises ConfigError."""
    try:
        family, *_, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"{config.listen} cannot be listened at",
            where="[serve]",
            why=(error.strerror or str(error)).lower(),
            hint='write listen = "HOST:PORT", with an address of this computer and a port that is free',
        ) from None


class _Announced(uvicorn.Server):
    """Says when it is ready, and when it ends; ends as a program that was asked to."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            notify("READY=1")
            log.info("serving", host=self.config.host, port=self.config.port, tls=self.config.is_ssl)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        notify("STOPPING=1")
        await super().shutdown(sockets)
        log.info("stopped")

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Finish what is under way, and no more; ctrl-C a second time ends at once. The signal itself must not end us then."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def refuse_in_the_clear(config: ServeConfig) -> None:
    """Raise ConfigError for a server that strangers could listen to."""
    if (config.certificate is None) != (config.key is None):
        raise ConfigError(
            "TLS needs a certificate and its key", where="[serve]", why="only one of them is there", hint="write both"
        )
    if config.certificate or config.behind_proxy or _is_here(config.host):
        return
    raise ConfigError(
        f"{config.listen} would be served without TLS",
        where="[serve]",
        why="what nodes bring could be read on the way",
        hint='write certificate = "..." and key = "...", or behind_proxy = true where a proxy in front ends TLS',
    )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
