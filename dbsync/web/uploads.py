"""Batches that come in parts: kept in the database until the last part is here, by whichever server it comes."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from dbsync.errors import Interrupted, Refusal
from dbsync.statements import statement

MOST = 4
"""Batches of one node that are kept; it brings one after the other, and those before were begun in vain."""


class TooLarge(Refusal):
    """A batch that is larger than this server takes."""


class Misplaced(Interrupted):
    """A part that does not follow what is here."""

    @classmethod
    def of(cls, peer: str) -> Misplaced:
        """Say it to a node."""
        return cls("the part does not follow what is here", where=peer, hint="ask how much is here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One batch of one node on its way. Connections are in autocommit."""

    peer: str
    id: str

    def add(self, connection: psycopg.Connection, place: int, data: bytes, *, most: int) -> None:
        """Keep a part. Raises Misplaced for one that does not follow what is here, TooLarge where it grows over a limit."""
        if place + len(data) > most:
            raise TooLarge(
                "the batch is larger than this server takes",
                where=self.peer,
                why=f"{most:,} bytes are taken",
                hint="at the upstream: [serve] max_batch; at the node: [batch] max_changes",
            )
        connection.execute(statement("uploads", "remove_stale"))
        connection.execute(statement("uploads", "remove_crowd"), {**self._own, "most": MOST})
        with connection.transaction():
            connection.execute(statement("uploads", "begin"), self._own)
            part = {**self._own, "place": place, "length": len(data)}
            if connection.execute(statement("uploads", "grow"), part).rowcount != 1:
                raise Misplaced.of(self.peer)
            connection.execute(statement("uploads", "keep"), {**self._own, "place": place, "data": data})

    def read(self, connection: psycopg.Connection, size: int) -> Generator[bytes]:
        """Give the parts that are here, one in memory at a time, as they are at this moment. Close it where it is left early.

        It ends in Misplaced where they are not ``size`` bytes: another request may have finished or begun the same batch
        anew since somebody looked.
        """
        left = size
        with self._parts(connection) as parts:
            for data in parts:
                left -= len(data)
                if left < 0:
                    break
                yield data
        if left:
            raise Misplaced.of(self.peer)

    def digest(self, connection: psycopg.Connection) -> tuple[int, bytes]:
        """Give how many bytes are here, and their SHA-256."""
        size, digest = 0, hashlib.sha256()
        with self._parts(connection) as parts:
            for data in parts:
                size += len(data)
                digest.update(data)
        return size, digest.digest()

    def remove(self, connection: psycopg.Connection) -> None:
        """Forget it."""
        connection.execute(statement("uploads", "remove"), self._own)

    @contextmanager
    def _parts(self, connection: psycopg.Connection) -> Iterator[Iterator[bytes]]:
        with connection.transaction(), connection.cursor(name="upload", binary=True) as cursor:
            cursor.itersize = 1
            cursor.execute(statement("uploads", "parts"), self._own)
            yield (data for (data,) in cursor)

    @property
    def _own(self) -> dict[str, object]:
        return {"peer": self.peer, "id": self.id}
