"""What laptops on the local network reach: they hand over bundles, and take receipts home. See docs/reference/http.md."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from anyio import CapacityLimiter
from starlette.applications import Starlette

from dbsync.bundle import sealed
from dbsync.bundle.names import Kind, SealedName, read_sealed_name
from dbsync.errors import NotAdmitted
from dbsync.identity.keys import Keys
from dbsync.relay.records import Paper, Records
from dbsync.relay.spool import Name, Spool, read
from dbsync.web.door import Door, Said, Visit, about, paper
from dbsync.web.edge import Edge, Newcomer, rotation_of, taken_in
from dbsync.web.local import RELAY
from dbsync.web.says import Malformed, number

THREADS = 16
"""Requests that are answered at the same time."""

log = structlog.get_logger()


@dataclass(kw_only=True)
class House:
    """What laptops reach: they hand over bundles, and take receipts home."""

    name: str
    keys: Keys
    records: Records
    spool: Spool
    silence: float

    def app(self) -> Starlette:
        """Give the application."""
        edge = Edge(
            door=Door(keys=self.keys),
            silence=self.silence,
            threads=CapacityLimiter(THREADS),
            check=lambda request, body: edge.door.check(self.records, request, body),
            enrol=self._take_in,
            alive=lambda: None,
        )
        return edge.app(
            RELAY,
            {
                "time": self.time,
                "about": about,
                "rotate": self.rotate,
                "held": self.held,
                "bundle_kept": self.kept,
                "bundle_part": self.part,
                "bundle_forget": self.forget,
                "bundle_finish": self.finish,
                "receipts": self.receipts,
                "carried_certificate": self.certificate,
                "papers": self.papers,
                "answer": self.answer,
                "answer_taken": self.answer_taken,
                "arrived_lists": self.arrived,
            },
        )

    def time(self, _visit: Visit) -> Said:
        """Tell the time."""
        return Said(status=200, body={"now": datetime.now(UTC).isoformat()})

    def rotate(self, visit: Visit) -> Said:
        """Know a node by other keys from now on."""
        keys = rotation_of(visit)
        self.records.rotate(visit.peer.name, keys)
        log.info("keys_rotated", node=visit.peer.name, key=keys.key_id)
        return Said(status=200, body={})

    def held(self, visit: Visit) -> Said:
        """Say which bundles of a node are in custody."""
        return Said(status=200, body={"held": [one.name.file() for one in self.records.held(visit.peer.name)]})

    def kept(self, visit: Visit) -> Said:
        """Say how much of a bundle or a paper is here."""
        size, digest = self.spool.kept(_own(visit))
        return Said(status=200, body={"offset": size, "hash": digest})

    def forget(self, visit: Visit) -> Said:
        """Forget what is here of it."""
        self.spool.forget(_own(visit))
        return Said(status=200, body={})

    def part(self, visit: Visit) -> Said:
        """Take a part of it."""
        place = number(visit.query, "offset")
        return Said(status=200, body={"offset": self.spool.add(_own(visit), place, visit.body)})

    def finish(self, visit: Visit) -> Said:
        """Take a bundle into custody, and give the note of it; of a paper there is none, its word comes from the upstream."""
        name = _own(visit)
        assert visit.peer.keys is not None
        if isinstance(name, SealedName):
            self.spool.finish_paper(name, visit.body, visit.peer.keys)
            log.info("paper_taken", node=name.node, paper=name.file())
            return paper(None)
        note = self.spool.finish(name, visit.body, visit.peer.keys)
        log.info("custody_taken", node=name.node, bundle=name.file())
        return paper(note)

    def receipts(self, visit: Visit) -> Said:
        """Give a node its receipts."""
        _refuse_others(visit)
        return paper(self.records.paper(visit.peer.name, Paper.RECEIPTS))

    def certificate(self, visit: Visit) -> Said:
        """Give a node its certificate, as the upstream signed it at the last visit there."""
        _refuse_others(visit)
        return paper(self.records.paper(visit.peer.name, Paper.CERTIFICATE))

    def papers(self, visit: Visit) -> Said:
        """Say which sealed papers of a node are here."""
        return Said(status=200, body={"papers": [one.name.file() for one in self.records.papers.of(visit.peer.name)]})

    def answer(self, visit: Visit) -> Said:
        """Give a node the answer to its question."""
        name = _answer(visit)
        here = any(one.name == name for one in self.records.papers.of(name.node))
        return paper(sealed.read(self.spool.folder, name) if here else None)

    def answer_taken(self, visit: Visit) -> Said:
        """Let go of an answer: its node has it, or asks no more."""
        self.spool.let_go(_answer(visit))
        return Said(status=200, body={})

    def arrived(self, visit: Visit) -> Said:
        """Say which lists of a node have arrived."""
        return paper(self.records.paper(visit.peer.name, Paper.LISTS))

    def _take_in(self, newcomer: Newcomer) -> Said:
        self.records.enrol(newcomer.name, newcomer.secret, newcomer.keys)
        log.info("node_enrolled", node=newcomer.name, key=newcomer.keys.key_id)
        return taken_in(self.name, self.keys.public)


def _refuse_others(visit: Visit) -> None:
    if visit.path["node"] != visit.peer.name:
        raise NotAdmitted("a node takes its own papers only", where=visit.peer.name)


def _own(visit: Visit) -> Name:
    name = read(visit.path["file"])
    if name is None or (isinstance(name, SealedName) and name.kind is Kind.ANSWER):
        raise Malformed("that is no bundle's name", where="request")
    if name.node != visit.peer.name:
        raise NotAdmitted("a node brings its own bundles only", where=visit.peer.name)
    return name


def _answer(visit: Visit) -> SealedName:
    name = read_sealed_name(visit.path["answer"])
    if name is None or name.kind is not Kind.ANSWER:
        raise Malformed("that is no answer's name", where="request")
    if name.node != visit.peer.name:
        raise NotAdmitted("a node takes its own papers only", where=visit.peer.name)
    return name
