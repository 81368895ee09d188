"""One HTTP connection to one server, kept open: what goes out as it is, what comes back as it came."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from dbsync import __version__, certificates
from dbsync.errors import ConfigError
from dbsync.identity.messages import Answer, Request, folded
from dbsync.transport.trouble import endless, explain, is_of_certificate
from dbsync.transport.trust import AUTHORITIES, Trust

CONNECT = 15.0
"""Seconds until a connection stands; then nobody is there."""
KEEP = 4.0
"""Seconds an idle connection is kept: less than servers keep it, so that none is used which they are about to close."""
LARGEST = 1 << 20
"""No honest answer has more bytes."""


def utc_now() -> datetime:
    """Give the time by this computer's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """An answer and its body, by whomever it is."""

    answer: Answer
    body: bytes


class Line:
    """The way to one server; honours HTTPS_PROXY, NO_PROXY and the system's certificate authorities. Close it after use.

    ``silence`` is how many seconds no byte may come or go, ``connect`` how many until somebody is there. ``trust`` says whose
    certificates are believed.
    """

    def __init__(
        self,
        url: str,
        *,
        silence: float,
        trust: Trust = AUTHORITIES,
        connect: float = CONNECT,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.url = url.rstrip("/")
        self.now = now
        self.silence = silence
        self._connect = connect
        self._looked = False
        self._proxy = _proxy_for(self.url)
        self._contexts = trust.contexts()
        self._client = self._made(next(self._contexts))

    def send(self, request: Request, body: bytes, *, patience: float | None = None) -> Came:
        """Send a request and wait for its answer. Raises Unreachable, saying in a person's words what is in the way.

        ``patience`` is for answers that take longer than the usual silence.
        """
        try:
            return self._sent(request, body, patience)
        except httpx2.HTTPError as error:
            context = next(self._contexts, None) if is_of_certificate(error) else None
            if context is None:
                raise explain(error, where=self.url, proxy=_place(self._proxy), now=self.now()) from error
        self._client.close()
        self._client = self._made(context)
        return self.send(request, body, patience=patience)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sent(self, request: Request, body: bytes, patience: float | None) -> Came:
        timeout = httpx2.Timeout(self.silence, connect=self._connect, read=patience or self.silence)
        with self._client.stream(
            request.method, request.url, content=body, headers=dict(request.headers), timeout=timeout
        ) as response:
            self._look_at_certificate(response)
            answer = Answer(status_code=response.status_code, request=request, headers=folded(response.headers))
            return Came(answer=answer, body=b"".join(self._bounded(response)))

    def _bounded(self, response: httpx2.Response) -> Iterator[bytes]:
        """Read an answer, unless it is without end in bytes or in time."""
        left, end = LARGEST, time.monotonic() + self.silence
        for chunk in response.iter_raw():
            left -= len(chunk)
            if left < 0 or time.monotonic() > end:
                raise endless(self.url)
            yield chunk

    def _look_at_certificate(self, response: httpx2.Response) -> None:
        """Note when the server's certificate ends, once a line."""
        if self._looked:
            return
        self._looked = True
        stream = response.extensions.get("network_stream")
        secured = None if stream is None else stream.get_extra_info("ssl_object")
        if secured is not None:
            certificates.note_shown(urlsplit(self.url).netloc, secured)

    def _made(self, context: ssl.SSLContext | bool) -> httpx2.Client:
        return httpx2.Client(
            transport=self._transport(context),
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": f"dbsync/{__version__}", "Accept-Encoding": "identity"},
        )

    def _transport(self, context: ssl.SSLContext | bool) -> httpx2.HTTPTransport:
        limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP)
        try:
            return httpx2.HTTPTransport(
                verify=context,
                limits=limits,
                proxy=self._proxy,
                socket_options=_noticing(self.silence),
            )
        except (ValueError, ImportError, httpx2.InvalidURL):
            raise ConfigError(
                "the proxy's address cannot be used",
                where="HTTPS_PROXY",
                hint="HTTPS_PROXY=http://host:port, or leave it out",
            ) from None


def _proxy_for(url: str) -> str | None:
    """Name the proxy that the environment wants for an address, as other programs read it."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    found = getproxies().get(parts.scheme)
    return found if not found or "://" in found else f"http://{found}"


def _place(proxy: str | None) -> str:
    """Name a proxy without the password in its address."""
    if proxy is None:
        return ""
    return urlsplit(proxy).netloc.rpartition("@")[2]


def _noticing(silence: float) -> list[tuple[int, int, int]]:
    """Let the kernel notice a server that is gone while an answer is waited for: the answer may honestly take long."""
    wanted = {
        "TCP_KEEPIDLE": max(1, round(silence / 2)),
        "TCP_KEEPINTVL": max(1, round(silence / 6)),
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": round(silence * 1000),
    }
    known = [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in wanted.items() if hasattr(socket, name)
    ]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *known]
