"""Running the server: uvicorn, TLS by itself or behind a proxy, and an end that waits for the batches under way."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from starlette.applications import Starlette

from dbsync import certificates, posix, schema
from dbsync.config.listening import Listening
from dbsync.config.models import Config
from dbsync.dashboard.app import Dashboard
from dbsync.errors import ConfigError
from dbsync.identity import tls
from dbsync.identity.keys import Keys
from dbsync.model.program import Program
from dbsync.postgres import connect
from dbsync.pulse import PULSE
from dbsync.service.intake import taking_in
from dbsync.service.notify import notify
from dbsync.service.watch import watched
from dbsync.web.app import Server
from dbsync.web.patience import Patient

BACKLOG = 2048
GRACE = 100
"""Seconds in which answers are still given once the server was told to stop; batches that take longer are finished without.
systemd waits a little longer, see packaging/systemd/dbsync.service."""
IDLE = 10
"""Seconds that a connection is kept which nobody uses."""
CROWD = 8000
"""Connections at the same time, most of them idle: each node that is in reach keeps one. More are told to come again."""
OTHERS = 200
"""Open files that are no such connections: the database's, a stick's, what Python has."""

log = structlog.get_logger()


def serve(config: Config) -> None:
    """Serve until told to stop. Raises ConfigError where nodes would not be safe, SchemaVersionError without our schema."""
    keys = Keys.load(Path(config.node.keys))
    refuse_in_the_clear(config.serve)  # before the database is asked
    with connect(config.node.source, name="upstream") as connection:
        schema.require(connection, "upstream")
    server = Server(config=config, keys=keys)
    with ExitStack() as stack:
        app, at_end = server.app(), None
        if config.web.path is not None:
            pages = Dashboard(config=config, listening=config.serve, root=config.web.path)
            app.mount(config.web.path, stack.enter_context(pages.opened()))
            at_end = pages.live.stop
        serving = stack.enter_context(ready(app, config.serve, at_end=at_end))
        server.open()
        stack.callback(server.close)
        stack.enter_context(watched(config, Program.SERVE))
        stack.enter_context(taking_in(config))
        serving.run()


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that listens."""

    server: uvicorn.Server
    listening: socket.socket

    def run(self) -> None:
        """Answer until told to stop."""
        self.server.run(sockets=[self.listening])

    @property
    def tls(self) -> bool:
        """Say whether it speaks TLS itself."""
        return self.server.config.ssl is not None

    def stop(self) -> None:
        """Tell it to stop, from any thread."""
        self.server.should_exit = True


@contextmanager
def ready(
    app: Starlette,
    config: Listening,
    keys: Keys | None = None,
    *,
    at_end: Callable[[], None] | None = None,
    alone: bool = True,
) -> Iterator[Serving]:
    """Listen, and give what answers. Raises ConfigError where strangers could listen too.

    With ``keys``, who comes knows them: where there is no other certificate, they sign one. ``at_end`` is called when it is told
    to stop, before it waits for the answers that are under way. One that is not ``alone`` is not the
    whole program: what systemd is told, and what signals do, is others' business.
    """
    own = keys if _needs_tls(config) else None
    if own is None:
        refuse_in_the_clear(config)
    settings = _settings(app, config, own)
    if config.certificate is not None:
        certificates.note_own(Path(config.certificate))
    with _listening(config) as listening:
        yield Serving(_Announced(settings, at_end) if alone else uvicorn.Server(settings), listening)


def _settings(app: Starlette, config: Listening, keys: Keys | None) -> uvicorn.Config:
    """Make uvicorn's settings. Raises ConfigError where the certificate cannot be used."""
    made = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        http=Patient,
        ws="none",
        ssl_certfile=config.certificate,
        ssl_keyfile=config.key,
        ssl_context_factory=None if keys is None else lambda _config, _usual: tls.serving(keys),
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=posix.raise_open_files(CROWD + OTHERS) - OTHERS,
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
            where=config.title,
            why=(error.strerror or str(error)).lower(),
            hint="certificate and key name two files in PEM that belong together, the key without a passphrase",
        ) from None
    return made


def _listening(config: Listening) -> socket.socket:
    """Listen, so that whoever is in the way is told of by name. Raises ConfigError."""
    try:
        family, *_, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"{config.listen} cannot be listened at",
            where=config.title,
            why=(error.strerror or str(error)).lower(),
            hint='write listen = "HOST:PORT", with an address of this computer and a port that is free',
        ) from None


class _Announced(uvicorn.Server):
    """Says when it is ready, and when it ends; ends as a program that was asked to."""

    def __init__(self, config: uvicorn.Config, at_end: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._at_end = at_end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            notify("READY=1")
            log.info("serving", host=self.config.host, port=self.config.port, tls=self.config.ssl is not None)

    async def on_tick(self, counter: int) -> bool:
        """Give a sign of life with each turn of the loop."""
        PULSE.beat()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        notify("STOPPING=1")
        if self._at_end is not None:
            self._at_end()
        await super().shutdown(sockets)
        log.info("stopped")

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Finish what is under way, and no more; ctrl-C a second time ends at once. The signal itself must not end us then."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def refuse_in_the_clear(config: Listening) -> None:
    """Raise ConfigError for a server that strangers could listen to."""
    if (config.certificate is None) != (config.key is None):
        raise ConfigError(
            "TLS needs a certificate and its key",
            where=config.title,
            why="only one of them is there",
            hint="write both",
        )
    if not _needs_tls(config):
        return
    raise ConfigError(
        f"{config.listen} would be served without TLS",
        where=config.title,
        why=f"{config.at_stake} could be read on the way",
        hint='write certificate = "..." and key = "...", or behind_proxy = true where a proxy in front ends TLS',
    )


def _needs_tls(config: Listening) -> bool:
    """Say whether strangers could listen, and nothing keeps them from it."""
    return not (config.certificate or config.key or config.behind_proxy or _is_here(config.host))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
