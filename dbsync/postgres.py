"""Connections to PostgreSQL, and its errors in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors, sql

from dbsync.errors import (
    ConfigError,
    DbsyncError,
    Exhausted,
    Interrupted,
    LinkHalted,
    PrivilegeError,
    Refusal,
    SchemaVersionError,
    Unreachable,
)
from dbsync.pooling import PooledConnection, backend, deals_out, need
from dbsync.silence import SILENCE, WatchedConnection

CONNECT_TIMEOUT = 10
"""Seconds; a libpq ``connect_timeout`` in the connection string wins."""
ALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A machine that is gone is noticed in a minute, whether or not something was on its way to it; libpq's own words, and those
in the connection string win. The server's side is in sql/session.sql."""

Connection = psycopg.Connection[tuple[object, ...]]

_WAIT = {
    True: "dbsync run   ships when there is a route again; until then changes wait safely in the source",
    False: "start the server, or mend the connection string in dbsync.toml; dbsync check   tries both ends",
}
"""What to do while a database is out of reach: the upstream, or the source."""

_MEND = {
    True: "mend url in [upstream], or ~/.pgpass / pg_service.conf; then: dbsync check",
    False: "mend source in [node], or ~/.pgpass / pg_service.conf (PGPASSFILE, PGSERVICEFILE); then: dbsync check",
}
"""What to do where it answers and turns us away."""
_TURNED_AWAY = re.compile(
    r'(database|role) ".*" does not exist|authentication failed|no pg_hba\.conf entry|no password supplied'
    r'|definition of service ".*" not found',
    re.DOTALL,
)
"""What no waiting mends, as PostgreSQL and libpq say it: no SQLSTATE comes with a connection that was refused."""

ENCODING = "UTF8"
"""Of every batch, whatever encoding the databases are in: each server turns its own text into it and back. It is said when
connecting, which every pooler knows."""

SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "search_path": "pg_catalog, pg_temp",
    "array_nulls": "on",
    "xmloption": "content",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "jit": "off",
}
"""Pinned wherever dbsync turns values into text or back: what is on the capture functions, and what changes how text is
read. JIT is off because compiling takes longer than any of our statements over the catalogue."""


def connect(
    dsn: str, *, name: str, application: str = "dbsync", silence: float = SILENCE, pooled: bool = False
) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection in autocommit with dbsync's settings; ``name`` is ``source`` or ``upstream``.

    Raises :class:`Unreachable` when there is no route, :class:`PrivilegeError` when the server says no. It breaks when
    there was no answer for ``silence`` seconds and the server is not at work on one.
    Settings are made after connecting, not in startup options: a pooler may refuse those. Where ``pooled``, it may deal
    out transactions; where not, such a one is refused.
    """
    with translated(name):
        try:
            settings: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(dsn)
        except psycopg.Error as error:
            raise _unreadable(name) from error
        for word, value in {"connect_timeout": CONNECT_TIMEOUT, "application_name": application, **ALIVE}.items():
            settings.setdefault(word, value)
        settings["client_encoding"] = ENCODING
        kind = PooledConnection if pooled else WatchedConnection
        try:
            connection = kind.connect(autocommit=True, **settings)
        except psycopg.ProgrammingError as error:
            raise _unreadable(name) from error  # its own words hold the value
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED  # each BEGIN says so, also through a pooler
        connection.answer = max(float(settings["connect_timeout"]), 0.0) or connection.answer
        row = connection.execute(our_settings(connection.info.backend_pid)).fetchone()
        assert row is not None
        connection.watch(settings, row[0], silence)
        if row[0] != connection.info.backend_pid:
            _meet_pooler(connection, dsn, name)
        return connection


def _unreadable(name: str) -> ConfigError:
    """Say that libpq cannot read a connection string; without its words, which may hold a piece of a password."""
    return ConfigError(
        f"the connection string of the {name} cannot be read",
        where=name,
        why="an option or a value in it is none that libpq knows",
        hint="mend it in dbsync.toml; the options are in PostgreSQL's manual, Database Connection Control Functions",
    )


def our_settings(backend: int | None = None) -> sql.Composed:
    """Compose what makes our settings: the session's where the server's process is ``backend``, else the transaction's.

    A pooler gives a number of its own; what was set for the session would be met by whoever gets its process next. What is
    committed survives a crash of the server, and each statement sees what was committed before it, whatever the defaults of
    the database or the role are: others are told of the one, and whoever waits for somebody relies on the other.
    """
    return sql.SQL(
        "SELECT pg_catalog.pg_backend_pid(),"
        " pg_catalog.count(pg_catalog.set_config(s.name, s.value,"
        " coalesce(pg_catalog.int4ne(pg_catalog.pg_backend_pid(), {backend}), true)))"
        " FROM (SELECT name, value FROM ROWS FROM"
        " (pg_catalog.unnest({names}::pg_catalog.text[]), pg_catalog.unnest({values}::pg_catalog.text[]))"
        " t(name, value) UNION ALL SELECT 'synchronous_commit', 'on'"
        " WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off'"
        " UNION ALL SELECT 'default_transaction_isolation', 'read committed') s"
    ).format(backend=backend, names=list(SETTINGS), values=list(SETTINGS.values()))


def _meet_pooler(connection: WatchedConnection, dsn: str, name: str) -> None:
    """Go on behind a pooler: presuming nothing where that is enough, else only if it keeps sessions together."""
    if isinstance(connection, PooledConnection):
        connection.presume_nothing()
        connection.begin_with(our_settings())
        return
    if deals_out(connection, dsn):
        connection.close()
        raise Refusal(
            f"a transaction pooler stands before the {name}",
            where=name,
            why="settings and locks of a session get lost between statements",
            hint="connect to the server itself, or to a pool with pool_mode = session   (in dbsync.toml)",
        )
    connection.execute(our_settings(backend(connection)))


def let_server_notice(connection: psycopg.Connection[tuple[Any, ...]], silence: float) -> None:
    """Let the server end this session when it hears nothing in the middle of a transaction: what it locked comes free."""
    need(connection, "session", "notice", silence=f"{round(silence * 1000)}ms")


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
            hint="dbsync check   (says which of the two, and what to write in dbsync.toml or to paste)",
        )
    if isinstance(error, errors.UntranslatableCharacter | errors.CharacterNotInRepertoire):
        return LinkHalted(
            f"a text has a character that the encoding of the {where} does not have",
            where=where,
            why="source and upstream are encoded differently, or one of them as SQL_ASCII, which means nothing",
            hint="give that database the encoding UTF8   (dbsync check   names the encodings)",
        )
    if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected | errors.LockNotAvailable):
        return Interrupted(
            "others use the same rows or tables", where=where, why=message, hint="type the same again in a moment"
        )
    if is_server_trouble(error):
        what = _SHORT.get(error.sqlstate or "", "is out of reach")
        kind = Unreachable if error.sqlstate in _DROPPED or _family(error.diag) == "08" else Exhausted
        return kind(f"the {where} {what}", where=where, why=message, hint=_hint(error, where, message))
    return DbsyncError(message, where=where, why=f"SQLSTATE {error.sqlstate}")


def _hint(error: psycopg.Error, where: str, message: str) -> str:
    """Say what to do about a server in trouble; one that answers and turns us away is waited for in vain."""
    refused = error.pgconn is not None and (error.pgconn.needs_password or error.pgconn.used_password)
    if error.sqlstate is None and (refused or _TURNED_AWAY.search(message)):
        return _MEND[where == "upstream"]
    return _WAIT[where == "upstream"]


_SHORT = {
    "53100": "has no room on its disk: make some, then dbsync goes on by itself",
    "53200": "has no memory left for this (a larger max_locks_per_transaction where it says so)",
    "53300": "has no connection left: end some, or raise max_connections",
    "57014": "cancelled the statement",
}
_DROPPED = (None, "25P03", "25P04", "57P01", "57P02", "57P03", "57P05")
"""The server ended the session, or there was none."""
_STORAGE = ("md.c", "fd.c", "buffile.c", "bufmgr.c", "smgr.c")
"""Where PostgreSQL says that a file cannot be written or read, whatever the operating system's reason."""


def is_server_trouble(error: psycopg.Error) -> bool:
    """Say whether the server, its disk or the line is in trouble: no row is to blame, and the same may go later."""
    return (
        isinstance(error, psycopg.OperationalError) or error.sqlstate in _DROPPED or error.diag.source_file in _STORAGE
    )


def installer(where: str) -> str:
    """Name the command that installs dbsync's schema there."""
    return "install-upstream" if where == "upstream" else "install-triggers"


def primary(error: psycopg.Error) -> str:
    """Say what went wrong without any row's value.

    PostgreSQL's own message names columns and constraints, where DETAIL shows values. But some messages hold the value
    too: those about data (class 22), which are said in our words, and whatever code of the application raises, of which
    only the place is told. Nothing here depends on the language the server speaks.
    """
    diag = error.diag
    text = (diag.message_primary or "").strip()
    if not text:
        told = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return (str(error).strip() if told else "") or type(error).__name__
    place = _function(diag)
    within = f", in the function {place}" if place else ""
    named = diag.source_file == "aclchk.c" or is_refused_by_policy(diag)
    if is_raised_by_hand(diag) or (place and _family(diag) == "42" and not named):
        who = f"the function {place}" if place else "a function of the application"
        return f"{who} raised: {_in_words(error)} (SQLSTATE {error.sqlstate}; the server's log has its words)"
    if _family(diag) == "22":
        return _about_data(error, text) + within
    if _family(diag) == "XX":
        text = _QUOTED.sub('"..."', text)
    return text + within


_QUOTED = re.compile(r'".*"', re.DOTALL)
_LINE = re.compile(r"([\w.$]+\([^()\n]*\)) \w+ \d+")
"""A line of a PL's CONTEXT, in any language: ``PL/pgSQL function check_visit() line 3 at RAISE``."""
_NAMED = re.compile(r'^[^"\n]*\b(?:SQL|PL/\w+)[^"\n]*"([\w.$]+)"', re.MULTILINE)
"""One of another language's: ``SQL function "check_visit" statement 1``."""
_TYPE = re.compile(r"\btype ([a-z][a-z ]*[a-z](?:\(\d+(?:,\d+)?\))?)")
_DATA = {
    "22001": "a value is too long",
    "22003": "a number is out of range",
    "22007": "a date or time is malformed",
    "22008": "a date or time is out of range",
    "22021": "a text has a character that this encoding does not have",
    "22P02": "a value cannot be read",
    "22P03": "a value cannot be read",
    "22P05": "a text has a character that this encoding does not have",
    "22032": "a JSON value cannot be read",
    "2200N": "an XML value cannot be read",
}


def _function(diag: psycopg.errors.Diagnostic) -> str | None:
    """Name the innermost function that was running, as the error's CONTEXT tells it."""
    found = _LINE.search(diag.context or "") or _NAMED.search(diag.context or "")
    return found[1] if found is not None else None


def is_raised_by_hand(diag: psycopg.errors.Diagnostic) -> bool:
    """Say whether a function of the application chose the words: RAISE, or the like in another language."""
    return _family(diag) == "P0" or (diag.source_file or "").startswith("pl")


def is_refused_by_policy(diag: psycopg.errors.Diagnostic) -> bool:
    """Say whether row-level security refused a row; to PostgreSQL that is a missing privilege (42501), and it is none."""
    return diag.sqlstate == errors.InsufficientPrivilege.sqlstate and diag.source_function == "ExecWithCheckOptions"


def is_refused_as_too_much(diag: psycopg.errors.Diagnostic) -> bool:
    """Say whether a row is more than PostgreSQL takes, or a trigger stands in its way; psycopg counts both among operational errors."""
    return _family(diag) in _OF_ROWS and diag.sqlstate not in _OF_STATEMENTS


_OF_ROWS = ("27", "2F", "38", "39", "54")
"""A value too long for an index or a search, a row changed by a trigger of the same statement, a function that failed."""
_OF_STATEMENTS = ("54011", "54023")
"""Too many columns or arguments: of those is the table, and no row of it."""


def _family(diag: psycopg.errors.Diagnostic) -> str:
    return (diag.sqlstate or "")[:2]


def _about_data(error: psycopg.Error, text: str) -> str:
    """Say an error about a value by its SQLSTATE, and the type where PostgreSQL names it outside of any quotes."""
    words = _DATA.get(error.sqlstate or "") or _in_words(error)
    found = _TYPE.search(_QUOTED.sub("", text))
    return f"{words} for type {found[1]}" if found else words


def _in_words(error: psycopg.Error) -> str:
    """Turn psycopg's name of an error into words: ``StringDataRightTruncation`` is 'string data right truncation'."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
