"""Bytes that one change takes in the log and on its way: dbsync's batches, as they are and compressed, beside logical replication's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import LiteralString

import psycopg

from dbsync.batch.codec import encode
from dbsync.changelog.reader import Reader
from dbsync.model.batch import Batch, Receipt
from dbsync.postgres import connect
from dbsync.service import node as nodes
from tests.benchmarks import ground
from tests.benchmarks.backlogs import bulk
from tests.benchmarks.node import MAX_CHANGES, Node
from tests.benchmarks.report import Measure, Result
from tests.benchmarks.routes import DbsyncRoute, publish
from tests.benchmarks.stage import Stage
from tests.support.databases import Database

VISITS = 100_000
FEWEST = 100
LINK = "wire"
"""A link of its own: its batches go nowhere."""

_RAW: dict[str, LiteralString] = {
    "inserts": """SELECT sum(size)::bigint FROM (SELECT pg_column_size(r.*) AS size FROM subject r
                  UNION ALL SELECT pg_column_size(r.*) FROM visit r UNION ALL SELECT pg_column_size(r.*) FROM crf r) s""",
    "updates": "SELECT sum(pg_column_size(r.*))::bigint FROM crf r",
}
"""The rows that were changed, as they stand in the tables."""
_UPDATE: LiteralString = "UPDATE crf SET weight = weight + 1, modified = now()"
_LOG: LiteralString = "SELECT pg_total_relation_size('dbsync.change')"
_MAKE_SLOT: LiteralString = "SELECT pg_create_logical_replication_slot('wire', 'pgoutput')"
_DROP_SLOT: LiteralString = "SELECT pg_drop_replication_slot('wire')"
_STREAMED: LiteralString = """
    SELECT sum(length(data))::bigint
    FROM pg_logical_slot_get_binary_changes('wire', NULL, NULL, 'proto_version', '1', 'publication_names', 'bench')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """What the same changes take, in all."""

    work: str
    changes: int
    raw: int
    logged: int
    payload: int
    compressed: int
    stream: int


def run(stage: Stage) -> list[Result]:
    """Count the bytes of the very same changes on either way; give the rows of the report."""
    found: list[Bytes] = []
    for number in range(stage.reps):
        with stage.pair(DbsyncRoute.name) as (source, upstream):
            node = Node(stage.folder / f"wire-{number}", source=source.dsn, upstream=upstream.dsn)
            node.prepare("install-triggers")
            publish(source)
            found += _measure(source, stage.size(VISITS, FEWEST))
        ground.talk(f"wire {number + 1}/{stage.reps}: {found[-1].payload / found[-1].changes:.0f} bytes an update")
    return [row for work in _RAW for row in _rows([one for one in found if one.work == work])]


def _measure(source: Database, visits: int) -> Iterator[Bytes]:
    """Make the changes, then read them on both ways: inserts of whole rows, and updates of two columns of each crf."""
    source.sql(_MAKE_SLOT)
    try:
        with closing(connect(source.dsn, name="source")) as connection:
            reader = _reader(connection)
            yield _bytes(source, reader, "inserts", lambda: bulk(source, "WIRE-", visits))
            yield _bytes(source, reader, "updates", lambda: _update(source))
    finally:
        source.sql(_DROP_SLOT)


def _bytes(source: Database, reader: Reader, work: str, make: Callable[[], int]) -> Bytes:
    before = source.value(_LOG)
    changes = make()
    logged = source.value(_LOG) - before
    payload, compressed = _batches(reader)
    return Bytes(
        work=work,
        changes=changes,
        raw=source.value(_RAW[work]),
        logged=logged,
        payload=payload,
        compressed=compressed,
        stream=source.value(_STREAMED),
    )


def _update(source: Database) -> int:
    with source.connect() as session:
        return session.execute(_UPDATE).rowcount


def _reader(connection: psycopg.Connection) -> Reader:
    node = nodes.read(connection)
    return Reader(connection, node=node.name, lineage=node.lineage, incarnation=node.incarnation, link=LINK)


def _batches(reader: Reader) -> tuple[int, int]:
    """Read all that is pending; give the bytes of the payloads, and of the batches in a file or in a request."""
    plain = packed = 0
    while (cut := reader.next_cut(MAX_CHANGES)) is not None:
        with reader.sending(cut) as batch:
            counted = _Counted(batch.payload)
            packed += sum(map(len, encode(replace(batch, payload=counted))))
            plain += counted.bytes
        reader.acknowledge(cut, _receipt(batch))
    return plain, packed


class _Counted:
    """A payload whose bytes are counted while somebody reads them."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.bytes += len(chunk)
            yield chunk


def _receipt(batch: Batch) -> Receipt:
    """Give what an upstream would answer, but for the hash, which only a crash would ask for."""
    header = batch.header
    return Receipt(
        node=header.node,
        incarnation=header.incarnation,
        number=header.number,
        hash=bytes(32),
        applied_at=datetime.now(UTC),
    )


def _rows(found: list[Bytes]) -> list[Result]:
    work = found[0].work
    what = f"{found[0].changes:,} {work}"

    def size(name: str, title: str, values: list[int]) -> Measure:
        return Measure(
            name=f"wire_{work}_{name}",
            title=f"bytes a change, {what}: {title}",
            values=tuple(value / one.changes for value, one in zip(values, found, strict=True)),
            digits=0,
        )

    def ratio(name: str, title: str, values: list[float]) -> Measure:
        return Measure(name=f"wire_{work}_{name}", title=f"{what}: {title}", values=tuple(values))

    return [
        size("raw", "the row in its table", [one.raw for one in found]),
        size("logged", "in the change log, with its indexes", [one.logged for one in found]),
        size("payload", "dbsync, directly", [one.payload for one in found]),
        size("compressed", "dbsync, compressed as for a file or HTTPS", [one.compressed for one in found]),
        size("stream", "logical replication", [one.stream for one in found]),
        ratio("by_raw", "compressed batches / rows", [one.compressed / one.raw for one in found]),
        ratio("by_stream", "compressed batches / logical replication", [one.compressed / one.stream for one in found]),
        ratio(
            "direct_by_stream", "batches directly / logical replication", [one.payload / one.stream for one in found]
        ),
    ]
