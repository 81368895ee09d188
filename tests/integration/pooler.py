"""A transaction pooler in miniature: what stands between clients and servers in many a data centre."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg import conninfo

_PROTOCOL = 196608
_SSL_REQUESTS = {80877103, 80877104}
_READY = b"Z"


class TransactionPooler:
    """Deal out server sessions transaction by transaction, most recently used first, as PgBouncer does.

    Speaks version 3 of the protocol over unix sockets, to a server that trusts.
    """

    def __init__(self, server: str, folder: Path, port: int = 5432) -> None:
        self._server = f"{server}/.s.PGSQL.{port}"
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / f".s.PGSQL.{port}"))
        self._listener.listen()
        self.dsn = conninfo.make_conninfo("", host=str(folder), port=port, user="postgres", dbname="postgres")

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for server in self._idle:
            server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), client:
            self._greet(client)
            while True:
                first = _message(client)
                if first[:1] == b"X":
                    return
                server = self._idle.pop() if self._idle else self._connect()
                self._transaction(client, server, first)
                self._idle.append(server)

    def _greet(self, client: socket.socket) -> None:
        length, code = struct.unpack("!II", _exactly(client, 8))
        while code in _SSL_REQUESTS:
            client.sendall(b"N")
            length, code = struct.unpack("!II", _exactly(client, 8))
        _exactly(client, length - 8)
        assert code >= _PROTOCOL
        settings = [
            (b"server_version", b"15.0"),
            (b"client_encoding", b"UTF8"),
            (b"standard_conforming_strings", b"on"),
        ]
        client.sendall(_framed(b"R", struct.pack("!I", 0)))
        for name, value in settings:
            client.sendall(_framed(b"S", name + b"\0" + value + b"\0"))
        client.sendall(_framed(b"K", b"\x7f" + os.urandom(7)))  # no pid of any process
        client.sendall(_framed(_READY, b"I"))

    def _connect(self) -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        words = b"user\0postgres\0database\0postgres\0\0"
        server.sendall(struct.pack("!II", len(words) + 8, _PROTOCOL) + words)
        while _message(server)[:1] != _READY:
            pass
        return server

    def _transaction(self, client: socket.socket, server: socket.socket, message: bytes) -> None:
        """Pass messages on until the server is idle again; a server answers to Sync and to a simple query."""
        while True:
            server.sendall(message)
            if message[:1] in {b"S", b"Q"}:
                answer = _message(server)
                while answer[:1] != _READY:
                    client.sendall(answer)
                    answer = _message(server)
                client.sendall(answer)
                if answer[5:6] == b"I":
                    return
            message = _message(client)


def _message(stream: socket.socket) -> bytes:
    head = _exactly(stream, 5)
    return head + _exactly(stream, struct.unpack("!I", head[1:])[0] - 4)


def _exactly(stream: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        more = stream.recv(size - len(got))
        if not more:
            raise EOFError
        got += more
    return got


def _framed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body
