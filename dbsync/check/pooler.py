"""A pooler between dbsync and its server: harmless when it keeps sessions; dealing out transactions, fatal to a source."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from dbsync.check.finding import error, warning
from dbsync.check.server import Side
from dbsync.model.findings import Finding
from dbsync.pooling import deals_out, has_go_between


def of_pooler(side: Side, connection: psycopg.Connection, dsn: str) -> Iterator[Finding]:
    """Find a pooler, and whether it keeps sessions together.

    The reader of the change log claims its link for a session; appliers are content with transactions.
    """
    if not has_go_between(connection):
        return
    if not deals_out(connection, dsn):
        yield warning("pooler", side, "a pooler stands before the server", "none needed if its pool_mode is session")
    elif side == "source":
        what = (
            "a transaction pooler stands before the server: settings and locks of a session get lost between statements"
        )
        remedy = "connect to the server itself, or to a pool with pool_mode = session"
        yield error("transaction_pooler", side, what, remedy)
    else:
        what = "a transaction pooler stands before the server: every transaction makes its settings and tables anew"
        remedy = (
            "for speed a pool with pool_mode = session; in this one no query_timeout, transaction_timeout or"
            " idle_transaction_timeout shorter than a batch takes"
        )
        yield warning("pooler_transactions", side, what, remedy)
