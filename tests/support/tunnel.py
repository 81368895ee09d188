"""A proxy as companies have it: it knows CONNECT and nothing else, and may refuse."""

from __future__ import annotations

import http.server
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Tunnels:
    """A proxy, and what went through it."""

    def __init__(self, port: int, *, refuses: bool) -> None:
        self.port, self.refuses = port, refuses
        self.asked: list[str] = []
        """Where somebody wanted to go."""
        self.carried = 0
        """Bytes that went through, both ways."""

    @property
    def environ(self) -> dict[str, str]:
        """Give the environment that leads through it."""
        return {"HTTPS_PROXY": f"http://somebody:password@127.0.0.1:{self.port}"}


@contextmanager
def proxy(*, refuses: bool = False) -> Iterator[Tunnels]:
    """Run a proxy; one that ``refuses`` lets nothing through."""
    tunnels = Tunnels(0, refuses=refuses)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            tunnels.asked.append(self.path)
            if tunnels.refuses:
                self.send_error(403, "Not in working hours")
                return
            host, _, port = self.path.partition(":")
            with socket.create_connection((host, int(port))) as far:
                self.send_response(200)
                self.end_headers()
                for data in _join(self.connection, far):
                    tunnels.carried += len(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        tunnels.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tunnels
        server.shutdown()


def _join(near: socket.socket, far: socket.socket) -> Iterator[bytes]:
    """Pass on what comes from either end, and give it."""
    other = {near: far, far: near}
    while True:
        ready, _, _ = select.select([near, far], [], [])
        for one in ready:
            data = one.recv(1 << 16)
            if not data:
                return
            other[one].sendall(data)
            yield data
