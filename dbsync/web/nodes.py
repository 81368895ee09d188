"""What nodes ask of their upstream: receipts, batches, the time, that their quarantine be tended. See docs/reference/http.md."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import psycopg
import structlog

from dbsync.apply import greetings, receipts
from dbsync.batch.codec import Limits, decode
from dbsync.config.models import Config
from dbsync.errors import (
    FormatError,
    NotAdmitted,
)
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.lists import open_list
from dbsync.model.batch import Receipt
from dbsync.service.admission import admit, expect_node
from dbsync.service.certificate import issue
from dbsync.service.lists import take
from dbsync.tally import note_clock
from dbsync.web import greeted
from dbsync.web.appliers import Appliers
from dbsync.web.door import Said, Visit, paper
from dbsync.web.edge import Newcomer, rotation_of, taken_in
from dbsync.web.says import Malformed, members, number, uuid, word
from dbsync.web.uploads import Upload

_UPLOAD = re.compile(r"[0-9a-f]{64}")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Answers nodes that the door let in. Whatever is asked, it is about the node that asks."""

    config: Config
    keys: Keys
    appliers: Appliers
    connections: Callable[[], AbstractContextManager[psycopg.Connection]]
    """Lends a connection to the database, in autocommit, as a context manager."""

    def time(self, _visit: Visit) -> Said:
        """Tell the database's time."""
        with self.connections() as connection:
            row = connection.execute("SELECT pg_catalog.clock_timestamp()").fetchone()
        assert row is not None
        return Said(status=200, body={"now": row[0].isoformat()})

    def clock(self, visit: Visit) -> Said:
        """Hear by how much a node's clock is ahead."""
        off = members(visit.body, {"off"})["off"]
        if type(off) not in (int, float):
            raise Malformed("off is no number of seconds", where="request")
        note_clock(visit.peer.name, float(off))
        log.info("clock_told", node=visit.peer.name, off=round(float(off), 3))
        return Said(status=200, body={})

    def greet(self, visit: Visit) -> Said:
        """Hear how a node is."""
        greeting = greeted.read(visit.body)
        with self.connections() as connection:
            greetings.keep(connection, visit.peer.name, greeting)
        return Said(status=200, body={})

    def last_receipt(self, visit: Visit) -> Said:
        """Give a node's newest receipt."""
        incarnation, link = uuid(visit.query, "incarnation"), word(visit.query, "link")
        with self.connections() as connection:
            found = receipts.last_receipt(connection, visit.peer.name, incarnation, link)
        return Said(status=200, body={"receipt": None if found is None else _told(found)})

    def above(self, visit: Visit) -> Said:
        """Say up to which batch the tiers above have everything of a node."""
        incarnation, link = uuid(visit.query, "incarnation"), word(visit.query, "link")
        with self.connections() as connection:
            return Said(status=200, body={"above": receipts.above(connection, visit.peer.name, incarnation, link)})

    def certificate(self, visit: Visit) -> Said:
        """Certify what is here of one life of a node."""
        incarnation, link = uuid(visit.query, "incarnation"), word(visit.query, "link")
        with self.connections() as connection:
            return paper(
                issue(
                    connection,
                    destination=self.config.node.name,
                    node=visit.peer.name,
                    incarnation=incarnation,
                    link=link,
                    keys=self.keys,
                )
            )

    def rotate(self, visit: Visit) -> Said:
        """Know a node by other keys from now on."""
        keys = rotation_of(visit)
        with self.connections() as connection:
            registry.rotate(connection, visit.peer.name, keys)
        log.info("keys_rotated", node=visit.peer.name, key=keys.key_id)
        return Said(status=200, body={})

    def tend(self, visit: Visit) -> Said:
        """Try again what waits of everybody's, and say what waits still of this node's.

        Asking binds no database to a node: its first batch does, and before that nothing of it waits.
        """
        expect_node(visit.peer)
        lineage = uuid(members(visit.body, {"lineage"}), "lineage")
        with self.appliers.one() as hand:
            owner = registry.lineage_owner(hand.connection, lineage)
            if owner is None and visit.peer.lineage is None:
                return Said(status=200, body={"waiting": {}})
            if owner != visit.peer.name:
                raise NotAdmitted(f"{visit.peer.name} asks about another's database", where=visit.peer.name)
            return Said(status=200, body={"waiting": dict(hand.applier.tend(lineage))})

    def keep_list(self, visit: Visit) -> Said:
        """Keep a box that was checked at a node or a relay."""
        try:
            sealed = base64.b64decode(members(visit.body, {"sealed"})["sealed"], validate=True)
        except (ValueError, TypeError):
            raise Malformed("what is sealed is not in base64", where="request") from None
        with self.connections() as connection:
            found = take(connection, open_list(sealed, self.keys), visit.peer)
        log.info("list_kept", node=visit.peer.name, by=found.by, list=str(found.id))
        return Said(status=200, body={})

    def kept(self, visit: Visit) -> Said:
        """Say how much of a batch is here."""
        with self.connections() as connection:
            size, digest = _upload(visit).digest(connection)
        return Said(status=200, body={"offset": size, "hash": digest.hex()})

    def forget(self, visit: Visit) -> Said:
        """Forget what is here of a batch."""
        self._forget(_upload(visit))
        return Said(status=200, body={})

    def part(self, visit: Visit) -> Said:
        """Take a part of a batch; with the last one, apply it."""
        upload, place = _upload(visit), number(visit.query, "offset")
        complete = word(visit.query, "complete")
        if complete not in ("true", "false"):
            raise Malformed("complete is neither true nor false", where="request")
        if complete == "true":
            receipt = (
                self._finish(visit, upload, place) if place else self._apply(visit, lambda: nullcontext((visit.body,)))
            )
            return Said(status=200, body={"receipt": _told(receipt)})
        if not visit.body:
            raise Malformed("an empty part brings nothing", where="request")
        with self.connections() as connection:
            upload.add(connection, place, visit.body, most=self.config.serve.batch_bytes)
        return Said(status=200, body={"offset": place + len(visit.body)})

    def _finish(self, visit: Visit, upload: Upload, place: int) -> Receipt:
        """Apply what is here and the last part. What is no batch is forgotten: the node sends it anew."""

        @contextmanager
        def opened() -> Iterator[Iterable[bytes]]:
            with self.connections() as connection, closing(upload.read(connection, place)) as parts:
                yield chain(parts, (visit.body,))

        try:
            receipt = self._apply(visit, opened)
        except FormatError:
            self._forget(upload)
            raise
        self._forget(upload)
        return receipt

    def _apply(self, visit: Visit, opened: Callable[[], AbstractContextManager[Iterable[bytes]]]) -> Receipt:
        """Apply a batch. It is opened when an applier is free, for nobody is to hold a connection while he waits."""
        limits = Limits(payload=self.config.serve.payload_bytes, changes=self.config.serve.max_changes)
        with self.appliers.one() as hand, opened() as chunks:
            batch = decode(chunks, limits=limits)
            header, peer = batch.header, visit.peer
            admit(hand.connection, peer, header)
            receipt = hand.applier.apply(batch, alone=not peer.passes_on)
        log.info("batch_applied", node=peer.name, batch=header.number, changes=header.changes, held=receipt.held)
        return receipt

    def _forget(self, upload: Upload) -> None:
        with self.connections() as connection:
            upload.remove(connection)

    def enrol(self, newcomer: Newcomer) -> Said:
        """Let a node in that brings its secret."""
        with self.connections() as connection:
            registry.enrol(connection, newcomer.name, newcomer.secret, newcomer.keys)
        log.info("node_enrolled", node=newcomer.name, key=newcomer.keys.key_id)
        return taken_in(self.config.node.name, self.keys.public)


def _told(receipt: Receipt) -> Mapping[str, Any]:
    return {
        "node": receipt.node,
        "incarnation": str(receipt.incarnation),
        "number": str(receipt.number),
        "hash": receipt.hash.hex(),
        "applied_at": receipt.applied_at.isoformat(),
        "held": receipt.held,
    }


def _upload(visit: Visit) -> Upload:
    identity = visit.path["id"]
    if not _UPLOAD.fullmatch(identity):
        raise Malformed("a batch is named by 64 hexadecimal digits", where="request")
    return Upload(peer=visit.peer.name, id=identity)
