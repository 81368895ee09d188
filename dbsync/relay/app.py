"""What laptops on the local network reach: they hand over bundles, and take receipts home. See docs/reference/http.md."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.routing import Route

from dbsync.bundle.names import BundleName, read_name
from dbsync.errors import NotAdmitted
from dbsync.identity.keys import Keys
from dbsync.relay.records import Records
from dbsync.relay.spool import Spool
from dbsync.web.door import Door, Said, Visit, paper
from dbsync.web.edge import PART, Edge, Newcomer, rotation_of, taken_in
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
            [
                Route("/v1/health", edge.health),
                Route("/v1/enrol", edge.newcomer, methods=["POST"]),
                Route("/v1/time", edge.signed(self.time)),
                Route("/v1/rotate", edge.signed(self.rotate), methods=["POST"]),
                Route("/v1/bundles", edge.signed(self.held)),
                Route("/v1/bundles/{file}", edge.signed(self.kept), methods=["GET"]),
                Route("/v1/bundles/{file}", edge.signed(self.part, PART), methods=["PATCH"]),
                Route("/v1/bundles/{file}", edge.signed(self.forget), methods=["DELETE"]),
                Route("/v1/bundles/{file}", edge.signed(self.finish), methods=["PUT"]),
                Route("/v1/bundles/{node}/receipts", edge.signed(self.receipts)),
            ]
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
        """Say how much of a bundle is here."""
        size, digest = self.spool.kept(_own(visit))
        return Said(status=200, body={"offset": size, "hash": digest})

    def forget(self, visit: Visit) -> Said:
        """Forget what is here of a bundle."""
        self.spool.forget(_own(visit))
        return Said(status=200, body={})

    def part(self, visit: Visit) -> Said:
        """Take a part of a bundle."""
        place = number(visit.query, "offset")
        return Said(status=200, body={"offset": self.spool.add(_own(visit), place, visit.body)})

    def finish(self, visit: Visit) -> Said:
        """Take a bundle into custody, and give the note of it."""
        name = _own(visit)
        assert visit.peer.keys is not None
        note = self.spool.finish(name, visit.body, visit.peer.keys)
        log.info("custody_taken", node=name.node, bundle=name.file())
        return paper(note)

    def receipts(self, visit: Visit) -> Said:
        """Give a node its receipts."""
        if visit.path["node"] != visit.peer.name:
            raise NotAdmitted("a node takes its own receipts only", where=visit.peer.name)
        found = self.records.receipts(visit.peer.name)
        return paper(found)

    def _take_in(self, newcomer: Newcomer) -> Said:
        self.records.enrol(newcomer.name, newcomer.secret, newcomer.keys)
        log.info("node_enrolled", node=newcomer.name, key=newcomer.keys.key_id)
        return taken_in(self.name, self.keys.public)


def _own(visit: Visit) -> BundleName:
    found = read_name(visit.path["file"])
    if found is None or found[1]:
        raise Malformed("that is no bundle's name", where="request")
    if found[0].node != visit.peer.name:
        raise NotAdmitted("a node brings its own bundles only", where=visit.peer.name)
    return found[0]
