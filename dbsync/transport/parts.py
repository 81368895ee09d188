"""A batch's bytes in parts, one of them in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


class Parts:
    """Cuts a stream of bytes into parts; knows of each whether it is the last."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = bytearray(next(self._chunks, b""))
        self.head = bytes(self._held)
        """The first chunk: a batch's lead, with its hash behind it."""
        self.tail = b""
        """The last bytes that were taken, as many as a hash has; at the end, the hash of the batch."""
        self.place = 0
        """How many bytes were taken."""
        self.ended = False
        """Whether nothing is left."""

    def take(self, size: int) -> bytes:
        """Take so many bytes; fewer at the end."""
        while len(self._held) <= size and (chunk := next(self._chunks, None)) is not None:
            self._held += chunk
        part = bytes(self._held[:size])
        del self._held[:size]
        self.place += len(part)
        self.tail = (self.tail + part[-_HASH_BYTES:])[-_HASH_BYTES:]
        self.ended = not self._held
        return part

    def skip(self, count: int, size: int) -> bytes:
        """Take so many bytes away, part by part; give their SHA-256."""
        digest = hashlib.sha256()
        while self.place < count and not self.ended:
            digest.update(self.take(min(size, count - self.place)))
        return digest.digest()


_HASH_BYTES = hashlib.sha256().digest_size
