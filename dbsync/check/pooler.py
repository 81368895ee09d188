"""A pooler between dbsync and its server: harmless when it keeps sessions, fatal when it deals out transactions."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from dbsync.check.finding import error, warning
from dbsync.check.server import Side
from dbsync.model.findings import Finding

_SETTING = "dbsync.probe"
_PATIENCE = "2s"


def of_pooler(side: Side, connection: psycopg.Connection, dsn: str) -> Iterator[Finding]:
    """Find a pooler, and whether it keeps sessions together.

    A pooler gives its own number where a server gives the pid of its process. To tell how it pools, a second session
    holds a transaction open: if the first one's server was dealt out to it, the first meets another server, where
    its settings are gone.
    """
    if not _has_go_between(connection):
        return
    remedy = "connect to the server itself, or to a pool with pool_mode = session"
    if _loses_its_session(connection, dsn):
        what = (
            "a transaction pooler stands before the server: settings and locks of a session get lost between statements"
        )
        yield error("transaction_pooler", side, what, remedy)
    else:
        yield warning("pooler", side, "a pooler stands before the server", "none needed if its pool_mode is session")


def _has_go_between(connection: psycopg.Connection) -> bool:
    return connection.info.backend_pid != _backend(connection)


def _backend(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def _loses_its_session(connection: psycopg.Connection, dsn: str) -> bool:
    connection.execute("SELECT pg_catalog.set_config(%s, 'kept', false)", (_SETTING,))
    before = _backend(connection)
    try:
        with psycopg.connect(dsn) as other:
            other.execute("SELECT 1")
            with connection.transaction():
                connection.execute("SELECT pg_catalog.set_config('statement_timeout', %s, true)", (_PATIENCE,))
                row = connection.execute(
                    "SELECT pg_catalog.current_setting(%s, true), pg_catalog.pg_backend_pid()", (_SETTING,)
                ).fetchone()
    except psycopg.OperationalError:
        return False
    return row is None or row[0] != "kept" or row[1] != before
