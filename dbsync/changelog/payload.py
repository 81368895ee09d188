"""The payload of a batch as it is read from the source: what one binary COPY of its changes says, in chunks.

A COPY sends each change as a whole, and whoever receives it holds a whole one, several times. So where a change may be
large the server is asked for slices of the same bytes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import LiteralString

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
FRAME = 6
"""Bytes before a row's only column: how many columns there are, and its length."""
TRAILER = b"\xff\xff"


def read(connection: psycopg.Connection, cut: Cut, *, large: bool) -> Generator[bytes]:
    """Read the payload of a cut of the filled window; the same bytes whether a change of it may be ``large`` or not."""
    with translated("source"), connection.cursor() as cursor:
        yield from _in_slices(cursor, cut) if large else _whole(cursor, cut)


def stored() -> sql.SQL:
    """Give the expression of a change's size in the log."""
    return statement("changelog", "stored")


def read_after(cut: Cut) -> int:
    """Say from where on a cut's share of the filled window is read."""
    return 0 if cut.joint is not None else cut.after_seq


def close(reading: Iterable[object]) -> None:
    """End a reading that nobody wants to its end: until then it holds its connection."""
    if isinstance(reading, Generator):
        reading.close()


def _whole(cursor: psycopg.Cursor, cut: Cut) -> Generator[bytes]:
    with cursor.copy(statement("changelog", "read").format(changes=_changes(cut))) as copy:
        yield from chunked(copy)


def _in_slices(cursor: psycopg.Cursor, cut: Cut) -> Generator[bytes]:
    with cursor.copy(_sliced(cut)) as copy:
        yield from chunked(_contents(copy))


def _sliced(cut: Cut) -> sql.Composed:
    return statement("changelog", "read_in_slices").format(
        changes=_changes(cut),
        stored=stored(),
        size=sql.Literal(SLICE),
        large=sql.Literal(LARGE),
        **{name: _framed("array_send({})", "p", name) for name in ("image", "old_image")},
        **{name: _framed("array_send({})", "c", name) for name in ("refs", "old_refs", "lost")},
        origin=_framed("textsend({})", "c", "origin"),
    )


def _framed(send: LiteralString, row: str, name: str) -> sql.Composed:
    return statement("changelog", "framed").format(sent=sql.SQL(send).format(sql.Identifier(row, name)))


def _contents(rows: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes | bytearray | memoryview]:
    """Take the pieces out of the COPY that brings them; each comes as a row of its own, the protocol promises."""
    yield HEADER
    start = len(HEADER) + FRAME
    for row in rows:
        if len(row) > len(TRAILER):
            yield row[start:]
        start = FRAME
    yield TRAILER


def _changes(cut: Cut) -> sql.Composed:
    name = "one_transaction" if cut.transactions == 1 else "many_transactions"
    return statement("changelog", name).format(
        columns=statement("changelog", "wire_columns"),
        after=sql.Literal(read_after(cut)),
        last=sql.Literal(cut.last_seq),
    )


def chunked(pieces: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
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
