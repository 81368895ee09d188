"""Running the server: uvicorn, TLS by itself or behind a proxy, and an end that waits for the batches under way."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import structlog
import uvicorn

from dbsync import schema
from dbsync.config.models import Config, ServeConfig
from dbsync.errors import ConfigError
from dbsync.identity.keys import Keys
from dbsync.postgres import connect
from dbsync.service.notify import notify
from dbsync.web.app import Server

IDLE = 10
"""Seconds that a connection is kept which nobody uses."""
CROWD = 500
"""Requests at the same time; more are told to come again."""

log = structlog.get_logger()


def serve(config: Config) -> None:
    """Serve until told to stop. Raises ConfigError where nodes would not be safe, SchemaVersionError without our schema."""
    keys = Keys.load(Path(config.node.keys))
    _refuse_in_the_clear(config.serve)
    with connect(config.node.source, name="upstream") as connection:
        schema.require(connection, "upstream")
    server = Server(config=config, keys=keys)
    server.open()
    try:
        _Announced(
            uvicorn.Config(
                server.app(),
                host=config.serve.host,
                port=config.serve.port,
                ssl_certfile=config.serve.certificate,
                ssl_keyfile=config.serve.key,
                timeout_keep_alive=IDLE,
                limit_concurrency=CROWD,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
            )
        ).run()
    finally:
        server.close()


class _Announced(uvicorn.Server):
    """Says when it is ready, and when it ends."""

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # only handed on
        await super().startup(sockets)  # type: ignore[arg-type]  # likewise
        if self.started:
            notify("READY=1")
            log.info("serving", host=self.config.host, port=self.config.port, tls=self.config.is_ssl)

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # likewise
        notify("STOPPING=1")
        await super().shutdown(sockets)  # type: ignore[arg-type]  # likewise


def _refuse_in_the_clear(config: ServeConfig) -> None:
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
