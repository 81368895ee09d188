"""What is inside the seal: a head, batches in pieces, an end. Streaming both ways; pure.

    magic line | length | head | (piece of a batch)* ... | end

Each batch is ``B``, its number in 8 bytes, and pieces: 4 bytes of length, so many bytes; a length of 0 ends it. ``E`` and the
count of the batches in 4 bytes end the bundle, and nothing comes behind them. Numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from dbsync.errors import FormatError

NAME = b"dbsync bundle "
MAGIC = NAME + b"1\n"
LARGEST_HEAD = 1 << 16
PIECE = 1 << 20
_MEMBERS = frozenset({"node", "lineage", "incarnation", "link", "destination"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Whose batches these are, and for whom."""

    node: str
    lineage: UUID
    incarnation: UUID
    link: str
    destination: str


Batches = Iterable[tuple[int, Iterable[bytes]]]


def write_stream(head: Head, batches: Batches) -> Iterator[bytes]:
    """Give a bundle's plaintext in chunks."""
    data = _dump(head)
    yield MAGIC + len(data).to_bytes(4, "big") + data
    count = 0
    for number, chunks in batches:
        yield b"B" + number.to_bytes(8, "big")
        for chunk in chunks:
            for place in range(0, len(chunk), PIECE):
                piece = chunk[place : place + PIECE]
                yield len(piece).to_bytes(4, "big") + piece
        yield bytes(4)
        count += 1
    yield b"E" + count.to_bytes(4, "big")


class Stream:
    """A bundle's plaintext, read: its :attr:`head` now, its batches as they are iterated over, once and in their order.

    Raises FormatError for what version 1 did not write. That nothing is missing is known at the end.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        magic = self._take(len(MAGIC))
        if magic != MAGIC:
            known = magic.startswith(NAME)
            raise refused("it is of another version" if known else "it is no bundle", "this program reads version 1")
        length = int.from_bytes(self._take(4), "big")
        if length > LARGEST_HEAD:
            raise refused("its head is too large")
        self.head = _read(self._take(length))

    def batches(self) -> Iterator[tuple[int, Iterable[bytes]]]:
        """Give each batch by its number; what is left of one is read over when the next is asked for."""
        count = 0
        while (kind := self._take(1)) == b"B":
            number = int.from_bytes(self._take(8), "big")
            pieces = self._pieces()
            yield number, pieces
            for _ in pieces:
                pass
            count += 1
        if kind != b"E" or int.from_bytes(self._take(4), "big") != count:
            raise refused("its end is not where it should be")
        if self._held or next(self._chunks, None) is not None:
            raise refused("there are bytes behind its end")

    def _pieces(self) -> Iterator[bytes]:
        while length := int.from_bytes(self._take(4), "big"):
            if length > PIECE:
                raise refused("a piece of it is too large")
            yield self._take(length)

    def _take(self, count: int) -> bytes:
        parts = []
        while count:
            if not self._held:
                self._held = next(self._chunks, b"")
                if not self._held:
                    raise refused("it ends too early")
            parts.append(self._held[:count])
            self._held = self._held[count:]
            count -= len(parts[-1])
        return b"".join(parts)


def refused(what: str, why: str = "") -> FormatError:
    """Make the error for a bundle that is not used."""
    return FormatError(
        what, where="bundle", why=why, hint="let the node export again: nothing of it was forgotten there"
    )


def _dump(head: Head) -> bytes:
    return orjson.dumps(
        {
            "destination": head.destination,
            "incarnation": str(head.incarnation),
            "lineage": str(head.lineage),
            "link": head.link,
            "node": head.node,
        }
    )


def _read(data: bytes) -> Head:
    """Read what :func:`_dump` wrote, and nothing else: it is written again and compared."""
    try:
        found: Mapping[str, Any] = orjson.loads(data)
        if set(found) != _MEMBERS or not all(isinstance(value, str) and value for value in found.values()):
            raise ValueError("other members")
        head = Head(
            node=found["node"],
            lineage=UUID(found["lineage"]),
            incarnation=UUID(found["incarnation"]),
            link=found["link"],
            destination=found["destination"],
        )
        same = _dump(head) == data
    except (ValueError, TypeError):
        raise refused("its head cannot be read") from None
    if not same:
        raise refused("its head is not written as version 1 writes it")
    return head
