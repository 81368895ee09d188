"""Reaching a database, or saying why it is not reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

from dbsync.check.server import Side
from dbsync.errors import DbsyncError
from dbsync.postgres import connect


@contextmanager
def reach(dsn: str, side: Side) -> Iterator[psycopg.Connection | DbsyncError]:
    """Open a session for a while; where that fails, give the reason in its place instead of raising it."""
    try:
        connection = connect(dsn, name=side, pooled=True)
    except DbsyncError as failure:
        yield failure
        return
    with closing(connection):
        yield connection
