"""What a monitoring system asks: /metrics, /healthz and /readyz, over plain HTTP at an address of their own.

In a thread, so that it answers also while a batch takes its time; nothing here can keep a change waiting. Whoever can reach
the address reads it without a password: it names nodes and counts changes, and holds nothing of any row.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6, SocketType
from typing import Any, ClassVar

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dbsync.config.fields import host_and_port
from dbsync.errors import DbsyncError
from dbsync.meters import registry
from dbsync.model.program import Program
from dbsync.pulse import PULSE

SLOW = 10.0
"""Seconds in which a request has to come."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is asked of a program beside its metrics."""

    patience: float
    """Seconds without a sign of life after which it is taken for stuck."""
    ready: Callable[[], Mapping[str, Any]]
    """Says how it is; raises where it could do nothing now."""

    def is_alive(self) -> bool:
        """Say whether the program does anything."""
        return PULSE.silent < self.patience


@contextmanager
def answering(listen: str | None, program: Program, observed: Collector, health: Health) -> Iterator[None]:
    """While inside, answer whoever asks at an address; where it cannot be had, say so and go on: changes matter more."""
    if listen is None:
        yield
        return
    told = registry(program)
    told.register(observed)
    try:
        server = _Server(host_and_port(listen), told, health)
    except OSError as error:
        log.warning(
            "metrics_not_served",
            listen=listen,
            reason=(error.strerror or str(error)).lower(),
            hint="another program listens there, or it is no address of this computer: [metrics] listen",
        )
        yield
        return
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("metrics_served", listen=listen)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, place: tuple[str, int], told: CollectorRegistry, health: Health) -> None:
        self.told, self.health = told, health
        if ":" in place[0]:
            self.address_family = AF_INET6
        super().__init__(place, _Answers)

    def handle_error(self, request: SocketType | tuple[bytes, SocketType], client_address: Any) -> None:
        """Leave whoever went away in the middle."""


class _Answers(BaseHTTPRequestHandler):
    server: _Server
    server_version: ClassVar[str] = "dbsync"  # type: ignore[misc]  # the base has it as a plain attribute
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = SLOW

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                self._say(HTTPStatus.OK, encode(self.server.told), kind)
            case "/healthz":
                alive = self.server.health.is_alive()
                self._told(alive, {"status": "ok" if alive else "stuck", "silent_seconds": round(PULSE.silent, 1)})
            case "/readyz":
                self._told(*self._ready())
            case _:
                self._told(False, {"status": "no such page"}, otherwise=HTTPStatus.NOT_FOUND)

    def _ready(self) -> tuple[bool, Mapping[str, Any]]:
        try:
            return True, {"status": "ok", **self.server.health.ready()}
        except DbsyncError as error:
            return False, {"status": "not ready", "reason": str(error)}

    def _told(
        self, good: bool, what: Mapping[str, Any], otherwise: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE
    ) -> None:
        self._say(HTTPStatus.OK if good else otherwise, json.dumps(what).encode() + b"\n", "application/json")

    def _say(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_said: object) -> None:
        """Say nothing of each question."""
