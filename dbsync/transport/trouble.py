"""What is in the way of a request, in the words of somebody who sits before a laptop in the field.

Nothing of it loses a change and all of it may be over in a moment, so each is an Unreachable: the service says it in
``status`` and tries again. What is to be done stands in the reason, for that is what ``status`` shows.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime

import httpx2

from dbsync.errors import Interrupted, Unreachable
from dbsync.transport.base import AGAIN

LOG_IN = "is this a network with a login page? open a browser and log in to it"
_NOT_YET_VALID, _EXPIRED = 9, 10  # OpenSSL's numbers, X509_V_ERR_...
_OTHER_HOST = (62, 64)
_NO_NETWORK = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)


def explain(error: httpx2.HTTPError, *, where: str, proxy: str, now: datetime) -> Unreachable:
    """Say why a request got no answer; ``now`` is this computer's time, ``proxy`` the one that is used, or empty."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate(cause, where, now)
    if isinstance(error, httpx2.ProxyError):
        why = f"it says: {_plain(str(error))}"
        return _trouble(
            f"the proxy {proxy} does not let this through", where, why, "HTTPS_PROXY names it: ask its keeper"
        )
    for cause in causes:
        if (found := _of_socket(cause, where, proxy)) is not None:
            return found
    if isinstance(error, httpx2.ConnectTimeout):
        return _trouble("nobody answers", where, "the network is too slow, or blocks this address")
    if isinstance(error, httpx2.TimeoutException):
        return Interrupted("no answer came in time", where=where, why="the line is dead or very slow", hint=AGAIN)
    return Interrupted("the line broke", where=where, why=_plain(str(error)) or type(error).__name__, hint=AGAIN)


def is_of_certificate(error: httpx2.HTTPError) -> bool:
    """Say whether it was the server's certificate that did not pass: then nothing was sent."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def endless(where: str) -> Unreachable:
    """Say that an answer does not end."""
    return _trouble("somebody else answers in the upstream's place", where, LOG_IN)


def _of_socket(cause: BaseException, where: str, proxy: str) -> Unreachable | None:
    if isinstance(cause, socket.gaierror):
        return _trouble(
            f"the name {'of the proxy ' + proxy if proxy else 'of the server'} is not found",
            where,
            "there is no network, or it knows no names (DNS)",
        )
    if isinstance(cause, ssl.SSLError):
        return _trouble("whoever answers there does not speak TLS as a server should", where, LOG_IN)
    if isinstance(cause, ConnectionRefusedError):
        who = f"the proxy {proxy}" if proxy else "the server"
        return _trouble(f"{who} refuses the connection", where, "the machine is there and nothing runs on this port")
    if isinstance(cause, OSError) and cause.errno in _NO_NETWORK:
        return _trouble("there is no network", where, "no way leads to the server")
    return None


def _certificate(error: ssl.SSLCertVerificationError, where: str, now: datetime) -> Unreachable:
    today = f"{now:%Y-%m-%d %H:%M} UTC by this computer's clock: is that right?"
    if error.verify_code == _EXPIRED:
        return _trouble("the server's certificate has expired", where, f"it is {today} if so, tell its keeper")
    if error.verify_code == _NOT_YET_VALID:
        return _trouble("the server's certificate is not valid yet", where, f"it is {today} set it if not")
    if error.verify_code in _OTHER_HOST:
        return _trouble("the server's certificate is for another host", where, LOG_IN, "look at upstream.url")
    return _trouble(
        "the server's certificate is by nobody this computer knows",
        where,
        LOG_IN,
        f'for a certificate authority of your own: in [upstream], url = "{where}" and ca = "file.pem"',
    )


def _trouble(what: str, where: str, why: str, hint: str = AGAIN) -> Unreachable:
    return Unreachable(what, where=where, why=why, hint=hint)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        if isinstance(seen, BaseExceptionGroup):
            for one in seen.exceptions:
                yield from _causes(one)
        seen = seen.__cause__ or seen.__context__


def _plain(text: str) -> str:
    return "".join(letter for letter in text[:200] if letter.isprintable())
