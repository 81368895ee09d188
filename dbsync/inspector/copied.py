"""Rows of PGCOPY, PostgreSQL's binary form of COPY, read without a PostgreSQL: a relay has none.

The form is the one of PostgreSQL's manual, COPY, "Binary Format", and array_send's for arrays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from dbsync.errors import FormatError

SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_NULL = -1
_MOST_FIELDS = 64


def rows(chunks: Iterable[bytes]) -> Iterator[list[bytes | None]]:
    """Give each row's fields as they are. Raises FormatError for what is no PGCOPY."""
    source = _Source(chunks)
    if source.take(len(SIGNATURE)) != SIGNATURE:
        raise _refused("it does not begin as PGCOPY does")
    flags, extension = struct.unpack("!ii", source.take(8))
    if flags or extension:
        raise _refused("it has flags that are not known")
    while (count := source.number(2)) != _NULL:
        if not 0 < count <= _MOST_FIELDS:
            raise _refused("a row has too many fields")
        yield [None if (size := source.number(4)) == _NULL else source.take(size) for _ in range(count)]


def whole(data: bytes | None) -> int:
    """Read a bigint."""
    return int.from_bytes(data or b"", "big", signed=True)


def moment(data: bytes | None) -> datetime:
    """Read a timestamp with time zone: microseconds since the year 2000."""
    return _EPOCH + timedelta(microseconds=whole(data))


def texts(data: bytes | None) -> list[str | None] | None:
    """Read a text[] of one dimension."""
    if data is None:
        return None
    dimensions, _, _ = struct.unpack_from("!iiI", data)
    if dimensions == 0:
        return []
    if dimensions != 1:
        raise _refused("an array has more than one dimension")
    length, _ = struct.unpack_from("!ii", data, 12)
    found: list[str | None] = []
    place = 20
    for _ in range(length):
        (size,) = struct.unpack_from("!i", data, place)
        place += 4
        if size == _NULL:
            found.append(None)
            continue
        found.append(data[place : place + size].decode("utf-8"))
        place += size
    return found


class _Source:
    """Chunks of any size, taken in pieces of known size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = bytearray()

    def take(self, size: int) -> bytes:
        if size < 0:
            raise _refused("a field has a size below nothing")
        while len(self._held) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise _refused("it ends in the middle")
            self._held += chunk
        found = bytes(self._held[:size])
        del self._held[:size]
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big", signed=True)


def _refused(why: str) -> FormatError:
    return FormatError("the batch cannot be looked into", where="batch", why=why)
