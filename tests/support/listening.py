"""A small web server of the test's own, on a port of this computer."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Handler(http.server.BaseHTTPRequestHandler):
    """One that writes no log."""

    def log_message(self, *_said: object) -> None:
        """Say nothing."""


@contextmanager
def listening_with(handler: type[Handler]) -> Iterator[str]:
    """Let a handler answer while inside; give the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
