"""Connections to PostgreSQL, and its errors in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from dbsync.errors import DbsyncError, Interrupted, PrivilegeError, Refusal, SchemaVersionError, Unreachable

CONNECT_TIMEOUT = 10
"""Seconds; a libpq ``connect_timeout`` in the connection string wins."""

Connection = psycopg.Connection[tuple[object, ...]]

_WAIT = {
    True: "dbsync run   ships when there is a route again; until then changes wait safely in the source",
    False: "start the server, or mend the connection string in dbsync.toml; dbsync check   tries both ends",
}
"""What to do while a database is out of reach: the upstream, or the source."""

SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "search_path": "pg_catalog, pg_temp",
    "jit": "off",
}
"""Pinned wherever dbsync turns values into text or back: the same list as on the capture functions. JIT is off because
compiling takes longer than any of our statements over the catalogue."""


def connect(dsn: str, *, name: str, application: str = "dbsync") -> psycopg.Connection:
    """Open a connection in autocommit with dbsync's settings; ``name`` is ``source`` or ``upstream``.

    Raises :class:`Unreachable` when there is no route, :class:`PrivilegeError` when the server says no.
    Settings are made after connecting, not in startup options: a pooler may refuse those.
    """
    with translated(name):
        settings = psycopg.conninfo.conninfo_to_dict(dsn)
        settings.setdefault("connect_timeout", CONNECT_TIMEOUT)
        settings.setdefault("application_name", application)
        settings.setdefault("keepalives_idle", 30)
        connection = psycopg.connect(autocommit=True, **settings)  # type: ignore[arg-type]  # libpq's own words
        connection.execute(
            "SELECT pg_catalog.set_config(name, value, false)"
            " FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) s(name, value)",
            (list(SETTINGS), list(SETTINGS.values())),
        )
        return connection


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Translate psycopg's errors into dbsync's, once, at the edge."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, where) from error


def translate(error: psycopg.Error, where: str) -> DbsyncError:  # noqa: PLR0911 - one line a family of errors
    """Say a PostgreSQL error in dbsync's tree, without row values."""
    message = primary(error)
    if isinstance(error, errors.InsufficientPrivilege):
        return PrivilegeError(
            f"the {where} does not let this role do what is needed",
            where=where,
            why=message,
            hint=f"dbsync check   (names what to grant on the {where}, as SQL to paste)",
        )
    if isinstance(error, errors.InvalidPassword | errors.InvalidAuthorizationSpecification):
        return PrivilegeError(
            f"the {where} does not let this role in",
            where=where,
            why=message,
            hint="check the connection string and PGPASSFILE",
        )
    if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName) and "dbsync" in message:
        return SchemaVersionError(
            "dbsync is not installed in this database", where=where, why=message, hint=f"dbsync {installer(where)}"
        )
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return Refusal(
            "nothing can be written in this database",
            where=where,
            why=f"the server is a hot standby or read-only: {message}",
            hint="connect to its primary",
        )
    if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected | errors.LockNotAvailable):
        return Interrupted(
            "others use the same rows or tables", where=where, why=message, hint="type the same again in a moment"
        )
    if isinstance(error, psycopg.OperationalError) or error.sqlstate in (None, "57P01", "57P02", "57P03"):
        return Unreachable(f"the {where} is out of reach", where=where, why=message, hint=_WAIT[where == "upstream"])
    return DbsyncError(message, where=where, why=f"SQLSTATE {error.sqlstate}")


def installer(where: str) -> str:
    """Name the command that installs dbsync's schema there."""
    return "install-upstream" if where == "upstream" else "install-triggers"


def primary(error: psycopg.Error) -> str:
    """Give PostgreSQL's primary message: it names columns and constraints, where DETAIL would show values."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    return re.sub(r'(invalid input (?:syntax|value) for [^:]+): ".*"', r"\1", text.strip(), flags=re.DOTALL)
