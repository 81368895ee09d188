"""Serving the pages, to one browser of this computer, until told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from dbsync.errors import UsageError
from dbsync.inspector.changes import Pending
from dbsync.inspector.door import Door
from dbsync.inspector.pages import Inspector

HOST = "127.0.0.1"


def run(pending: Pending, port: int, tell: Callable[[str], None]) -> None:
    """Serve, and ``tell`` the address that lets a browser in. Port 0 takes a free one. Raises UsageError for one that is taken."""
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be listened at",
            why=(error.strerror or str(error)).lower(),
            hint="--port 0   takes a free one",
        ) from None
    door = Door(listening.getsockname()[1])
    app = Inspector(pending=pending, door=door).app()
    settings = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none")
    with listening:
        tell(f"http://{HOST}:{door.port}/?token={door.token}")
        uvicorn.Server(settings).run(sockets=[listening])
