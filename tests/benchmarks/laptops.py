"""Laptops by the thousand: real batches of one database's log, each under the name and with the keys of a laptop of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import LiteralString
from uuid import uuid4

from dbsync.changelog.outbox import Outbox
from dbsync.changelog.reader import Reader
from dbsync.identity.keys import Keys
from dbsync.model.batch import Batch, Header
from dbsync.postgres import connect
from dbsync.service import node as nodes
from tests.support.databases import Database

VISITS = 2
CHANGES = 1 + 2 * VISITS
"""Row changes of a subject: itself, its visits, and a crf for each."""
SUBJECTS = 8
"""Subjects of a batch, entered in one transaction."""
LINK = "community"

_WORK: LiteralString = """
WITH subjects AS (
    INSERT INTO subject (subject_identifier, site_id, dob, sex)
    SELECT %s || g, 1 + g %% 10, date '1980-01-01' + g, 'F' FROM generate_series(1, %s) g RETURNING id),
visits AS (
    INSERT INTO visit (subject_id, visit_code, visit_date)
    SELECT s.id, 'V' || v, now() FROM subjects s, generate_series(1, %s) v RETURNING id)
INSERT INTO crf (visit_id, weight, height, notes, payload, modified)
SELECT v.id, 61.5, 170.25, 'entered at a home', '{"bp": 120, "code": "abcdef"}', now() FROM visits v
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A batch that can be brought more than once."""

    header: Header
    payload: bytes

    def batch(self) -> Batch:
        """Give it to be read once."""
        return Batch(header=self.header, payload=[self.payload])


@dataclass(frozen=True, slots=True, kw_only=True)
class Laptop:
    """One laptop, and what it has to bring, in order."""

    name: str
    keys: Keys
    parcels: tuple[Parcel, ...]


def made(source: Database, tag: str, batches: Sequence[int]) -> list[Laptop]:
    """Enter the work of as many laptops as there are numbers, each of so many batches, into a source with dbsync installed."""
    names = [f"{tag}{place}" for place in range(len(batches))]
    with source.connect() as session:
        for name, count in zip(names, batches, strict=True):
            for number in range(count):
                session.execute(_WORK, [f"{name}-{number}-", SUBJECTS, VISITS])
    with closing(connect(source.dsn, name="source")) as connection:
        node = nodes.read(connection)
        reader = Reader(connection, node=node.name, lineage=node.lineage, incarnation=node.incarnation, link=LINK)
        reader.claim(10.0)
        with Outbox(reader).batches(SUBJECTS * CHANGES) as waiting:
            read = ((batch.header, b"".join(batch.payload)) for batch in waiting)
            return [
                _laptop(name, [next(read) for _ in range(count)]) for name, count in zip(names, batches, strict=True)
            ]


def _laptop(name: str, read: Sequence[tuple[Header, bytes]]) -> Laptop:
    incarnation, before, parcels = uuid4(), b"", []
    for number, (header, payload) in enumerate(read, start=1):
        its = replace(
            header, node=name, lineage=incarnation, incarnation=incarnation, number=number, previous_hash=before
        )
        parcels.append(Parcel(header=its, payload=payload))
        before = hashlib.sha256(payload).digest()
    return Laptop(name=name, keys=Keys.generate(), parcels=tuple(parcels))
