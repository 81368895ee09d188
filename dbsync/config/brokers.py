"""Addresses of the nats route: enough to tell a good one from a slip. Pure."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from dbsync.config import web

PORT = 4222
SCHEMES = ("nats", "tls")
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f-\U0010ffff\\]")


def problem(url: str) -> str | None:
    """Say what is wrong with an address, without repeating it; None when nothing is.

    >>> problem("tls://a.example.org,b.example.org:4333"), problem("nats://127.0.0.1:4222")
    (None, None)
    >>> problem("nats://broker.example.org")
    'nats:// is for a broker on this computer only: write tls://...'
    """
    parts = [_split(server) for server in servers(url)]
    if _UNFIT.search(url) or not all(part and part.hostname for part in parts):
        return "not an address: write tls://broker.example.org, with commas between the members of a cluster"
    for part in parts:
        if part is not None and (found := _problem(part)) is not None:
            return found
    return None


def servers(url: str) -> list[str]:
    """Give each server that an address names, with its port.

    >>> servers("tls://a.example.org,b.example.org:4333")
    ['tls://a.example.org:4222', 'tls://b.example.org:4333']
    """
    scheme, _, rest = url.partition("://")
    return [f"{scheme}://{_with_port(one.rstrip('/'))}" for one in rest.split(",")]


def _with_port(server: str) -> str:
    return server if re.search(r":\d*$", server) else f"{server}:{PORT}"


def _problem(part: SplitResult) -> str | None:
    if part.username is not None or part.password is not None:
        return "no user or password belongs here: this node is known by its key"
    if part.path or part.query or part.fragment:
        return "nothing belongs behind the host and port"
    if part.scheme not in SCHEMES:
        return "write tls://..., or nats://... for a broker on this computer"
    if part.scheme == "nats" and not web.is_here(part.hostname or ""):
        return "nats:// is for a broker on this computer only: write tls://..."
    return None


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
