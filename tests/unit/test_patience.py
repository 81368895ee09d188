"""Whoever asks nothing, or not to the end, is not waited for: his place is free for somebody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from dbsync.config.listening import ServeConfig
from dbsync.web import patience
from dbsync.web.serve import ready
from tests.support.served import free_port
from tests.support.service import PATIENCE, until

ASK = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
PART = b"GET / HTTP/1.1\r\nHos"


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("yes")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a tenth of a second only."""
    monkeypatch.setattr(patience, "HEAD", 0.1)


@pytest.fixture
def port() -> Iterator[int]:
    """Serve."""
    found = free_port()
    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    with ready(app, ServeConfig(listen=f"127.0.0.1:{found}")) as serving:
        thread = threading.Thread(target=serving.run)
        thread.start()
        until(lambda: serving.server.started, "it does not start")
        yield found
        serving.stop()
        thread.join()


@pytest.mark.parametrize(
    ("said", "then"),
    [
        (b"", b""),
        (PART, b"t"),
        (ASK + PART, b"t"),
        (b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 999\r\n\r\n", b"x"),
    ],
    ids=["silent", "half a request", "half a second request", "a body that nobody reads"],
)
@pytest.mark.usefixtures("hasty")
def test_a_connection_on_which_no_request_comes_is_closed(port: int, said: bytes, then: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
        line.sendall(said)
        line.settimeout(0.05)
        for _ in range(int(PATIENCE / 0.05)):
            try:
                if not line.recv(4096):
                    return
            except TimeoutError:
                line.sendall(then)  # drop by drop
            except ConnectionResetError:
                return
    pytest.fail("it is waited for without end")


def test_who_asks_is_answered_again_and_again(port: int) -> None:
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as line:
        for body in (b"", b"x", b"x" * 100_000):
            line.request("POST", "/", body)
            assert line.getresponse().read() == b"yes"
        assert line.sock is not None


def test_a_body_may_come_as_slowly_as_a_line_is_and_no_slower() -> None:
    assert patience.allowed(60, 0) == 60
    assert patience.allowed(60, 1 << 20) > 3600
