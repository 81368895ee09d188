"""A batch to bytes and back, streaming: neither side ever holds more than a few chunks of a payload.

    magic line | length of the header | header | SHA-256 of all before | payload, zstd | its length | its SHA-256

The header can be read, and a batch be refused, before a byte of the payload is; what the payload is worth is known at
its end, and whoever applies it keeps nothing if the end does not come. See docs/reference/batch.md.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dbsync.batch.header import HASH_BYTES, VERSION, read_header, refused, write_header
from dbsync.model.batch import Batch

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NAME = b"dbsync batch "
MAGIC = NAME + b"%d\n" % VERSION
LEVEL = 3
WINDOW_LOG = 23
"""A reader needs at most 8 MiB for the window of a frame; one that asks for more is refused."""
CHUNK = 1 << 16
_LENGTH_BYTES = 4
_TOTAL_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a reader accepts; bytes of a payload are counted as they come out of the compression."""

    header: int = 1 << 24
    payload: int = 1 << 40
    changes: int = 1 << 63
    """By the header, which applying holds against what came."""


UNUSUAL = Limits()
"""Beyond these no batch is honest: 16 MiB of header, 1 TiB of payload."""


def encode(batch: Batch) -> Iterator[bytes]:
    """Give a batch as chunks of bytes. The payload is read once, while the chunks are taken.

    The same batch gives the same bytes with the same zstd library; what decides whether two are the same is the hash of
    the payload before compression. Raises ValueError for a header that version 1 has no words for.
    """
    header = write_header(batch.header)
    lead = MAGIC + len(header).to_bytes(_LENGTH_BYTES, "big") + header
    yield lead + hashlib.sha256(lead).digest()
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: LEVEL,
        zstd.CompressionParameter.window_log: WINDOW_LOG - 2,
    }
    compressor = zstd.ZstdCompressor(options=options)
    digest = hashlib.sha256()
    total = 0
    for chunk in batch.payload:
        digest.update(chunk)
        total += len(chunk)
        if ready := compressor.compress(chunk):
            yield ready
    yield compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME)
    yield total.to_bytes(_TOTAL_BYTES, "big") + digest.digest()


def decode(chunks: Iterable[bytes], *, limits: Limits = UNUSUAL) -> Batch:
    """Read a batch: its header now, its payload as it is iterated over, once.

    Raises :class:`dbsync.errors.FormatError` for bytes that version 1 did not write, from here on for the header and
    from the payload's iterator for the rest: damage, truncation, more bytes behind the end, or a payload over the limit.
    """
    source = _Source(chunks)
    _read_magic(source)
    length_bytes = source.take(_LENGTH_BYTES)
    length = int.from_bytes(length_bytes, "big")
    if length > limits.header:
        raise refused("the header is too large", f"{length:,} bytes, {limits.header:,} are accepted")
    data = source.take(length)
    if source.take(HASH_BYTES) != hashlib.sha256(MAGIC + length_bytes + data).digest():
        raise refused("the header is damaged", "its hash is another")
    header = read_header(data)
    if header.changes > limits.changes:
        raise refused("the batch has too many changes", f"{header.changes:,}, {limits.changes:,} are accepted")
    return Batch(header=header, payload=_payload(source, limits.payload))


def _read_magic(source: _Source) -> None:
    magic = source.take(len(MAGIC))
    if magic == MAGIC:
        return
    if magic.startswith(NAME):
        raise refused(
            f"the batch is not of version {VERSION}, which is the only one known here", "upgrade dbsync first"
        )
    raise refused("these bytes are no batch")


def _payload(source: _Source, limit: int) -> Iterator[bytes]:
    digest = hashlib.sha256()
    total = 0
    for chunk in _decompressed(source):
        digest.update(chunk)
        total += len(chunk)
        if total > limit:
            raise refused("the payload is too large", f"more than the {limit:,} bytes that are accepted")
        yield chunk
    if int.from_bytes(source.take(_TOTAL_BYTES), "big") != total or source.take(HASH_BYTES) != digest.digest():
        raise refused("the payload is damaged", "its length or hash is another")
    if source.more():
        raise refused("there are bytes behind the end of the batch")


def _decompressed(source: _Source) -> Iterator[bytes]:
    decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
    while not decompressor.eof:
        taken = source.some() if decompressor.needs_input else b""
        try:
            ready = decompressor.decompress(taken, max_length=CHUNK)
        except zstd.ZstdError as error:
            raise refused("the payload is damaged", str(error)) from error
        if ready:
            yield ready
    source.give_back(decompressor.unused_data)


class _Source:
    """Bytes in the portions that are asked for, out of the chunks in which they come."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""

    def take(self, count: int) -> bytes:
        """Take so many bytes."""
        parts: list[bytes] = []
        while count:
            part = self.some()
            parts.append(part[:count])
            self.give_back(part[count:])
            count -= len(parts[-1])
        return b"".join(parts)

    def some(self) -> bytes:
        """Take whatever comes next, at least one byte."""
        if not self.more():
            raise refused("the batch ends too early")
        taken, self._held = self._held, b""
        return taken

    def more(self) -> bool:
        """Say whether there is another byte."""
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._held = bytes(chunk)
        return True

    def give_back(self, rest: bytes) -> None:
        """Put back what was taken too much."""
        self._held = rest + self._held
