"""Addresses of the https route: enough to tell a good one from a slip, and to name it."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f-\U0010ffff\\]")


def problem(url: str) -> str | None:
    """Say what is wrong with an address, without repeating it; None when nothing is.

    >>> problem("https://community.example.org/"), problem("http://127.0.0.1:8080")
    (None, None)
    >>> problem("http://community.example.org")
    'http:// is for this computer itself only: write https://...'
    """
    parts = _split(url)
    if parts is None or not parts.hostname or _UNFIT.search(url):
        return "not an address: write https://community.example.org, with :port behind it if need be"
    if parts.username is not None or parts.password is not None:
        return "no user or password belongs here: this node is known by its key"
    if parts.path not in {"", "/"} or parts.query or parts.fragment or url.endswith(("?", "#")):
        return "nothing belongs behind the host and port"
    if parts.scheme == "http" and not is_here(parts.hostname):
        return "http:// is for this computer itself only: write https://..."
    return None


def short_name(url: str) -> str:
    """Name a server by its host.

    >>> short_name("https://community.example.org:8443/")
    'community.example.org'
    """
    parts = _split(url)
    host = (parts.hostname if parts else None) or ""
    return _NOT_IN_A_NAME.sub("-", host)[:63].strip("-") or "upstream"


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def is_here(host: str) -> bool:
    """Say whether a host is this computer itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
