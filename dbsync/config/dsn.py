"""Connection strings as libpq reads them, without libpq: enough to tell a good one from a slip, and to name it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

_OPTIONS = """
    service user password passfile channel_binding connect_timeout dbname host hostaddr port client_encoding options
    application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
    tcp_user_timeout sslmode sslnegotiation sslcompression sslcert sslkey sslcertmode sslpassword sslrootcert sslcrl sslcrldir
    sslsni requirepeer require_auth min_protocol_version max_protocol_version ssl_min_protocol_version
    ssl_max_protocol_version gssencmode krbsrvname gsslib gssdelegation replication target_session_attrs load_balance_hosts
    scram_client_key scram_server_key oauth_issuer oauth_client_id oauth_client_secret oauth_scope sslkeylogfile
"""
OPTIONS = frozenset(_OPTIONS.split())
"""What libpq knows; a test asks the one in use for more."""
_NUMBERS = (
    *("port", "connect_timeout", "tcp_user_timeout"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
)
_NUMBER = re.compile(r"\s*-?\d{0,9}\s*")
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


def unknown_option(dsn: str) -> str | None:
    """Name the first option that libpq would not take; None where it knows them all.

    What is not an option's name may be a part of a password: whoever shows it has to see where it comes from.

    >>> unknown_option("host=a dbnmae=x"), unknown_option("postgresql://h/db?pasword=abc"), unknown_option("host=a")
    ('dbnmae', 'pasword', None)
    """
    found = parameters(dsn)
    known = OPTIONS | {"ssl"} if scheme(dsn) and found.get("ssl") == "true" else OPTIONS
    return next((key for key in found if key not in known), None)


def not_a_number(dsn: str) -> str | None:
    """Name the first option that must be a whole number and is none.

    >>> not_a_number("connect_timeout=abc"), not_a_number("postgresql://h:one/db"), not_a_number("port=5432,,5433")
    ('connect_timeout', 'port', None)
    """
    found = parameters(dsn)
    return next((key for key in _NUMBERS if not all(map(_NUMBER.fullmatch, found.get(key, "").split(",")))), None)


def has_spaces(dsn: str) -> bool:
    """Say whether an address has spaces, which libpq wants as ``%20``.

    >>> has_spaces("postgresql://h/my db"), has_spaces("host=a dbname=b"), has_spaces("postgresql://h/my%20db ")
    (True, False, False)
    """
    return bool(scheme(dsn)) and " " in dsn.rstrip(" ")


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
    parts = [_host_and_port(part) for part in match["hosts"].split(",")]
    host, port = (",".join(part).strip(",") for part in zip(*parts, strict=True))
    named = {"user": user, "password": password, "host": host, "port": port, "dbname": match["dbname"] or ""}
    found = {key: unquote(value) for key, value in named.items() if value}
    return found | dict(parse_qsl(match["query"] or "", keep_blank_values=True)) or {"host": ""}


def _host_and_port(part: str) -> tuple[str, str]:
    host, _, port = part[1:].partition("]") if part.startswith("[") else part.partition(":")
    return host, port.removeprefix(":")


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
