"""How often a session waits for its server's answer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import psycopg

ANSWERED = (b"ReadyForQuery", b"CopyInResponse", b"CopyOutResponse")
"""What the server says when it is the client's turn again."""


def round_trips(connection: psycopg.Connection, work: Callable[[], object]) -> int:
    """Count a session's round trips during some work, by libpq's own trace."""
    with tempfile.TemporaryFile() as trace:
        connection.pgconn.trace(trace.fileno())
        try:
            work()
        finally:
            connection.pgconn.untrace()
        trace.seek(0)
        return sum(any(word in line for word in ANSWERED) for line in trace)
