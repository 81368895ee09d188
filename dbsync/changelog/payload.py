"""The payload of a batch as it is read from the source: what one binary COPY of its changes says, in chunks.

A COPY sends each change as a whole, and whoever receives it holds a whole one, several times. So where a change may be
large the server is asked for slices of the same bytes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

import psycopg
from psycopg import sql

from dbsync.model.batch import Cut
from dbsync.postgres import translated
from dbsync.statements import statement

CHUNK = 1 << 16
"""Bytes handed on at a time, at least."""
SLICE = 1 << 20
"""Bytes of a large change that are asked for at a time."""
LARGE = 1 << 14
"""Bytes as stored from which on a change may be large: it is up to 255 times as much when PostgreSQL unpacks it."""
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""The signature, no flags and no extension: https://www.postgresql.org/docs/current/sql-copy.html, Binary Format."""
TRAILER = b"\xff\xff"


def read(connection: psycopg.Connection, cut: Cut, *, large: bool) -> Generator[bytes]:
    """Read the payload of a cut of the filled window; the same bytes whether a change of it may be ``large`` or not."""
    with translated("source"), connection.cursor() as cursor:
        yield from _in_slices(cursor, cut) if large else _whole(cursor, cut)


def stored() -> sql.SQL:
    """Give the expression of a change's size in the log."""
    return statement("changelog", "stored")


def holds_large(connection: psycopg.Connection, cut: Cut) -> bool:
    """Say whether a change of a cut may be large."""
    query = statement("changelog", "largest").format(stored=stored())
    row = connection.execute(query, {"after": read_after(cut), "last": cut.last_seq}).fetchone()
    return row is not None and row[0] >= LARGE


def read_after(cut: Cut) -> int:
    """Say from where on a cut's share of the filled window is read."""
    return 0 if cut.joint is not None else cut.after_seq


def close(reading: Iterable[object]) -> None:
    """End a reading that nobody wants to its end: until then it holds its connection."""
    if isinstance(reading, Generator):
        reading.close()


def _whole(cursor: psycopg.Cursor, cut: Cut) -> Generator[bytes]:
    with cursor.copy(statement("changelog", "read").format(changes=_changes(cut))) as copy:
        yield from _chunked(copy)


def _in_slices(cursor: psycopg.Cursor, cut: Cut) -> Generator[bytes]:
    query = statement("changelog", "read_in_slices").format(changes=_changes(cut), size=sql.Literal(SLICE))
    pieces = cursor.stream(query, binary=True)
    try:
        yield HEADER
        yield from _chunked(piece for (piece,) in pieces)
        yield TRAILER
    finally:
        close(pieces)


def _changes(cut: Cut) -> sql.Composed:
    name = "one_transaction" if cut.transactions == 1 else "many_transactions"
    return statement("changelog", name).format(
        columns=statement("changelog", "wire_columns"),
        after=sql.Literal(read_after(cut)),
        last=sql.Literal(cut.last_seq),
    )


def _chunked(pieces: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    """Gather small pieces into chunks of at least :data:`CHUNK` bytes; a large piece goes through as it is."""
    held: list[bytes | bytearray | memoryview] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(held)
            held.clear()
            size = 0
    if held:
        yield b"".join(held)
