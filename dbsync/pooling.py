"""A pooler that deals out transactions: each of ours begins by saying what it needs, and leaves nothing behind.

PgBouncer and its like (``pool_mode = transaction``) give a client whichever of the server's processes is idle, for one
transaction. What was SET before is gone then, or is met by the application that gets that process next. So behind any
pooler every setting is the transaction's own, temporary tables end with it, and no statement stays prepared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from psycopg import pq, sql
from psycopg.abc import Params

from dbsync.silence import WatchedConnection
from dbsync.statements import statement

_PROBE = "dbsync.probe"
_PATIENCE = "2s"
_TURNS = 3
_BEFORE_ALL = re.compile(r"(?:--.*\n)*SET TRANSACTION\b")


def need(connection: psycopg.Connection[Any], file: str, name: str, **values: object) -> None:
    """Let the settings of a block of ``sql/<file>.sql`` hold on a connection, whatever stands before its server.

    ``{passing}`` in it says whether they are the transaction's alone; ``values`` fill its other places.
    """
    words = {word: sql.Literal(value) for word, value in (values | {"passing": is_dealt(connection)}).items()}
    query = statement(file, name).format(**words)
    if isinstance(connection, PooledConnection) and connection.is_dealt:
        connection.begin_with(query)
    else:
        connection.execute(query)


def is_dealt(connection: psycopg.Connection[Any]) -> bool:
    """Say whether nothing is kept from one transaction to the next: no setting, no temporary table, no prepared statement."""
    return isinstance(connection, PooledConnection) and connection.is_dealt


class PooledConnection(WatchedConnection):
    """One that may stand behind such a pooler: see :func:`need`."""

    is_dealt: bool = False
    """A pooler was found."""
    _first: sql.Composed = sql.Composed([])
    _is_bare: bool = False
    """In a transaction that was told nothing yet."""

    def presume_nothing(self) -> None:
        """Keep nothing from one transaction to the next from here on."""
        self.is_dealt = True
        self.prepare_threshold = None
        self.cursor_factory = _Cursor

    def begin_with(self, query: sql.Composed) -> None:
        """Run a statement at the beginning of each transaction."""
        self._first += query + sql.SQL(";\n")

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        """Begin a transaction, or a savepoint in one."""
        outermost = self.info.transaction_status == pq.TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as begun:
            self._is_bare = self._is_bare or (self.is_dealt and outermost)
            try:
                yield begun
            finally:
                self._is_bare = self._is_bare and not outermost

    def settle(self, query: object) -> None:
        """Begin with what was said to be needed, unless ``query`` is what a transaction has to be told before all else."""
        if not self._is_bare or _BEFORE_ALL.match(_text(query)):
            return
        self._is_bare = False
        cursor = self.execute(self._first + sql.SQL("SELECT pg_catalog.pg_backend_pid()"))
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        assert row is not None
        self.move(row[0])


class _Cursor(psycopg.Cursor[Any]):
    """Runs what comes between two transactions in one of its own."""

    def execute(self, query: Any, params: Params | None = None, **named: Any) -> Self:
        connection = self.connection
        assert isinstance(connection, PooledConnection)
        if connection.info.transaction_status == pq.TransactionStatus.IDLE:
            with connection.transaction():
                return self.execute(query, params, **named)
        connection.settle(query)
        return super().execute(query, params, **named)

    @contextmanager
    def copy(self, statement: Any, params: Params | None = None, **named: Any) -> Iterator[psycopg.Copy]:
        assert isinstance(self.connection, PooledConnection)
        self.connection.settle(statement)
        with super().copy(statement, params, **named) as begun:
            yield begun


def _text(query: object) -> str:
    return query.as_string(None) if isinstance(query, sql.Composable) else str(query)


def deals_out(connection: psycopg.Connection[Any], dsn: str) -> bool:
    """Say whether a pooler before the server deals out transactions, to a connection that presumes sessions.

    One that takes its servers in turn shows at once. With one that takes the last used first, a second session holds a
    transaction open: if the first one's server was dealt out to it, the first meets another, where its settings are gone.
    """
    if not has_go_between(connection):
        return False
    if len({backend(connection) for _ in range(_TURNS)}) > 1:
        return True
    connection.execute("SELECT pg_catalog.set_config(%s, 'kept', false)", (_PROBE,))
    before = backend(connection)
    try:
        with psycopg.connect(dsn) as other:
            other.execute("SELECT 1")
            with connection.transaction():
                connection.execute("SELECT pg_catalog.set_config('statement_timeout', %s, true)", (_PATIENCE,))
                row = connection.execute(
                    "SELECT pg_catalog.current_setting(%s, true), pg_catalog.pg_backend_pid()", (_PROBE,)
                ).fetchone()
    except psycopg.OperationalError:
        return False
    return row is None or row[0] != "kept" or row[1] != before


def has_go_between(connection: psycopg.Connection[Any]) -> bool:
    """Say whether a pooler stands before the server: it gives a number of its own where a server gives its process's."""
    return connection.info.backend_pid != backend(connection)


def backend(connection: psycopg.Connection[Any]) -> int:
    """Ask which process of the server is at work for a connection."""
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])
