"""Connections to one database that many threads share: lent out, taken back, and made anew where they broke."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from dbsync.errors import Unreachable
from dbsync.pooling import backend
from dbsync.postgres import ALIVE, CONNECT_TIMEOUT, our_settings, translated
from dbsync.silence import WatchedConnection

WAIT = 5.0
"""Seconds in which a connection may come free."""


class Lending:
    """Lends connections in autocommit with dbsync's settings, ``most`` at a time; none is made before :meth:`open`.

    ``where`` is ``source`` or ``upstream``, for errors.
    """

    def __init__(self, dsn: str, *, where: str, application: str, most: int, silence: float) -> None:
        given: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(dsn)
        self._settings = {"application_name": application, "connect_timeout": CONNECT_TIMEOUT, **ALIVE, **given}
        self._where = where
        self._silence = silence
        self._pool = ConnectionPool(
            connection_class=WatchedConnection,
            kwargs={**self._settings, "autocommit": True},
            min_size=1,
            max_size=most,
            timeout=WAIT,
            configure=self._settled,
            check=ConnectionPool.check_connection,
            open=False,
        )

    def open(self) -> None:
        """Connect to the database, as far as it is there."""
        self._pool.open()

    def close(self) -> None:
        """Give every connection back."""
        self._pool.close()

    @contextmanager
    def one(self) -> Iterator[psycopg.Connection]:
        """Lend one. Raises Unreachable where none comes free, and says psycopg's errors in dbsync's words."""
        try:
            with translated(self._where), self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise Unreachable("the database is away or busy", where=self._where) from error

    def _settled(self, connection: WatchedConnection) -> None:
        connection.execute(our_settings(backend(connection)))
        connection.watch(self._settings, connection.info.backend_pid, self._silence)
