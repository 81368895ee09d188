"""Connection strings as libpq reads them, without libpq: enough to tell a good one from a slip, and to name it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

_ROUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://|(?=/))")
_URL = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^@/?]*)@)?(?P<hosts>[^/?]*)(?:/(?P<dbname>[^?]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_PAIR = re.compile(
    r"\s*(?P<key>[^\s=']+)\s*=\s*(?:'(?P<quoted>(?:\\.|[^'\\])*)'|(?P<plain>(?!')(?:\\.|[^\s\\])*))\s*", re.DOTALL
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def scheme(text: str) -> str:
    """Give what stands before ``://``, in lower case; empty for key=value strings.

    >>> scheme("HTTPS://community.example.org"), scheme("host=a options=x://y")
    ('https', '')
    """
    match = _ROUTE.match(text)
    return match[1].lower() if match else ""


def parameters(dsn: str) -> Mapping[str, str]:
    """Split a connection string into libpq's parameters; raise ValueError when it is none.

    The error never repeats the string: it may hold a password.

    >>> parameters("host=a dbname='my db'")
    {'host': 'a', 'dbname': 'my db'}
    """
    found = _from_url(dsn) if scheme(dsn) else _from_pairs(dsn)
    if not found:
        raise ValueError("an empty connection string")
    return found


def short_name(dsn: str) -> str:
    """Name the database behind a connection string: by database, service or host, else ``upstream``.

    >>> short_name("postgresql://sync@db.example.org/community"), short_name("host=/run/postgresql")
    ('community', 'upstream')
    """
    try:
        found = parameters(dsn)
    except ValueError:
        return "upstream"
    host = found.get("host", "").split(",")[0]
    if host.startswith(("/", "@")):
        host = ""
    best = found.get("dbname") or found.get("service") or host
    return _NOT_IN_A_NAME.sub("-", best)[:63].strip("-") or "upstream"


def _from_url(dsn: str) -> dict[str, str]:
    match = _URL.fullmatch(dsn)
    if match is None:
        raise ValueError("not a postgresql:// address")
    user, _, password = (match["user"] or "").partition(":")
    host = ",".join(_without_port(part) for part in match["hosts"].split(","))
    named = {"user": user, "password": password, "host": host, "dbname": match["dbname"] or ""}
    found = {key: unquote(value) for key, value in named.items() if value}
    return found | dict(parse_qsl(match["query"] or "")) or {"host": ""}


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _from_pairs(dsn: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(dsn):
        match = _PAIR.match(dsn, at)
        if match is None:
            raise ValueError("not key=value pairs")
        value = match["plain"] if match["quoted"] is None else match["quoted"]
        found[match["key"]] = _ESCAPE.sub(r"\1", value)
        at = match.end()
    return found
