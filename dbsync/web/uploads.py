"""Batches that come in parts: kept in the database until the last part is here, by whichever server it comes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from dbsync.errors import Interrupted, Refusal
from dbsync.statements import statement


class TooLarge(Refusal):
    """A batch that is larger than this server takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One batch of one node on its way. Connections are in autocommit."""

    peer: str
    id: str

    def kept(self, connection: psycopg.Connection) -> int:
        """Say how many bytes are here."""
        row = connection.execute(statement("uploads", "kept"), self._own).fetchone()
        return int(row[0]) if row else 0

    def add(self, connection: psycopg.Connection, place: int, data: bytes, *, most: int) -> None:
        """Keep a part. Raises Interrupted for one that does not follow what is here, TooLarge where it grows over a limit."""
        if place + len(data) > most:
            raise TooLarge(
                "the batch is larger than this server takes",
                where=self.peer,
                why=f"{most:,} bytes are taken",
                hint="at the upstream: [serve] max_batch; at the node: [batch] max_changes",
            )
        with connection.transaction():
            connection.execute(statement("uploads", "remove_stale"))
            connection.execute(statement("uploads", "begin"), self._own)
            part = {**self._own, "place": place, "length": len(data)}
            if connection.execute(statement("uploads", "grow"), part).rowcount != 1:
                raise Misplaced("the part does not follow what is here", where=self.peer, hint="ask how much is here")
            connection.execute(statement("uploads", "keep"), {**self._own, "place": place, "data": data})

    def read(self, connection: psycopg.Connection) -> Iterator[bytes]:
        """Give the parts that are here, one in memory at a time, as they are at this moment."""
        with connection.transaction(), connection.cursor(name="upload") as cursor:
            cursor.itersize = 1
            cursor.execute(statement("uploads", "parts"), self._own)
            for (data,) in cursor:
                yield bytes(data)

    def digest(self, connection: psycopg.Connection) -> bytes:
        """Give the SHA-256 of what is here."""
        digest = hashlib.sha256()
        for data in self.read(connection):
            digest.update(data)
        return digest.digest()

    def remove(self, connection: psycopg.Connection) -> None:
        """Forget it."""
        connection.execute(statement("uploads", "remove"), self._own)

    @property
    def _own(self) -> dict[str, object]:
        return {"peer": self.peer, "id": self.id}


class Misplaced(Interrupted):
    """A part that does not follow what is here."""
