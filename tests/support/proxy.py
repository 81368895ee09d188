"""A line between a service and a server that breaks at a chosen byte, or goes silent as a forgetful firewall does."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from psycopg.conninfo import make_conninfo

from tests.support.databases import Database

CHUNK = 1 << 16
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: what is closed answers with a reset, as an address that is gone does."""


class Way(StrEnum):
    """A direction."""

    UP = "to the server"
    DOWN = "from the server"


class Fault(StrEnum):
    """What the line does at the chosen byte."""

    CUT = "cut"
    SILENT = "silent"
    """It goes on taking what comes, and passes nothing on."""


@dataclass(kw_only=True)
class Armed:
    """A fault, and how many bytes go before it."""

    fault: Fault
    way: Way
    left: int


class Proxy:
    """Listens on 127.0.0.1 and forwards to a database's server.

    ``with Proxy(database) as line:`` connect to ``line.dsn``; or to ``line.port`` of one before a port of this computer.
    :meth:`arm` a fault, :meth:`mend` it. A connection that has
    gone silent stays so for good, as in life.
    """

    def __init__(self, to: Database | int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.dsn = "" if isinstance(to, int) else self._dsn(to)
        self.passed = dict.fromkeys(Way, 0)
        """Bytes that went through."""
        self.broken = 0
        """How often an armed fault was met."""
        self._armed: Armed | None = None
        self._deaf = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closing = False

    def _dsn(self, database: Database) -> str:
        return make_conninfo(
            database.dsn, host="127.0.0.1", port=self.port, connect_timeout=2, sslmode="disable", gssencmode="disable"
        )

    def arm(self, fault: Fault, way: Way, after: int) -> None:
        """Break once, after so many bytes in one direction."""
        with self._lock:
            self._armed = Armed(fault=fault, way=way, left=after)

    def deafen(self) -> None:
        """Go silent for all connections, and for those to come."""
        with self._lock:
            self._deaf = True

    def mend(self) -> None:
        """Let new connections through; forget what is armed."""
        with self._lock:
            self._armed, self._deaf = None, False

    def cut(self) -> None:
        """Cut all connections now."""
        with self._lock:
            self._reset(*self._open)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closing:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_INET if isinstance(self._to, int) else socket.AF_UNIX)
        with self._lock:
            self._open |= {client, server}
        try:
            if not self._deaf:
                server.connect(self._address())
            self._forward(client, server)
        except (OSError, ValueError):
            pass  # the other side is gone, or we closed it
        finally:
            with self._lock:
                self._reset(client, server)
                self._open -= {client, server}

    def _address(self) -> str | tuple[str, int]:
        if isinstance(self._to, int):
            return "127.0.0.1", self._to
        cluster = self._to.cluster
        return str(cluster.directory / f".s.PGSQL.{cluster.port}")

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        others = {client: (server, Way.UP), server: (client, Way.DOWN)}
        silent: bool = self._deaf
        while True:
            readable, _, _ = select.select([client] if silent else [client, server], [], [], 0.5)
            silent = silent or self._deaf
            for one in readable:
                data = one.recv(CHUNK)
                if not data:
                    return
                other, way = others[one]
                if silent:
                    continue
                passing, fault = self._take(data, way)
                other.sendall(passing)
                if fault is Fault.CUT:
                    return
                silent = fault is Fault.SILENT

    def _take(self, data: bytes, way: Way) -> tuple[bytes, Fault | None]:
        with self._lock:
            armed = self._armed
            if armed is None or armed.way is not way or len(data) < armed.left:
                if armed is not None and armed.way is way:
                    armed.left -= len(data)
                self.passed[way] += len(data)
                return data, None
            self._armed = None
            self.broken += 1
            self.passed[way] += armed.left
            return data[: armed.left], armed.fault

    @staticmethod
    def _reset(*sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                if one.family is socket.AF_INET:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.shutdown(socket.SHUT_RDWR) if one.family is socket.AF_UNIX else None
                one.close()
