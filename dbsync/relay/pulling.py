"""Out to the laptops: what waits in their outboxes is taken into custody, and what was signed for them brought home."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from dbsync.bundle import sealed
from dbsync.bundle.names import Kind, read_name, read_sealed_name
from dbsync.errors import Exhausted, FormatError, Interrupted, NotAdmitted
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.identity.registry import Peer
from dbsync.identity.rotation import verify_succession
from dbsync.relay.records import Held, Paper, Records
from dbsync.relay.spool import Name, Spool
from dbsync.transport.enrol import own_keys, own_successions
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from dbsync.transport.pull import Offered, Pull
from dbsync.transport.trust import Trust

CONNECT = 4.0
"""Seconds until somebody answers on the local network; most laptops are elsewhere."""
SILENCE = 30.0
"""Seconds in which something has to come over a line."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a visit came to."""

    node: str
    bundles: int
    """Taken into custody now."""
    acknowledged: int
    """Batches whose receipts the laptop did not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulling:
    """Visits laptops. What is told as being in custody is on the disk here, as with what they bring themselves."""

    keys: Keys
    records: Records
    spool: Spool
    stop: Callable[[], bool] = bool
    """Asked again and again: a visit that is stopped raises Interrupted."""
    _given: dict[tuple[str, Paper], Signed] = field(default_factory=dict)
    """What each laptop was given last."""

    def visit(self, url: str) -> Pulled:
        """Bring home what there is for whoever is at an address, and take what waits there.

        Raises Unreachable where nobody is, NotAdmitted where the two do not know each other.
        """
        peer, theirs = self._who(url)
        with Line(url, silence=SILENCE, trust=Trust(keys=theirs), connect=CONNECT) as line:
            pull = Pull(exchange=Exchange(line=line, keys=self.keys, theirs=theirs))
            acknowledged = self._bring_home(pull, peer.name)
            bundles = 0
            for offered in self._offered(pull, peer.name):
                self._take(pull, peer.name, offered, theirs)
                bundles += 1
            self._fetch_papers(pull, peer.name, theirs)
        self.records.note_seen(peer.name)
        if bundles or acknowledged:
            log.info("laptop_visited", node=peer.name, bundles=bundles, acknowledged=acknowledged)
        return Pulled(node=peer.name, bundles=bundles, acknowledged=acknowledged)

    def _who(self, url: str) -> tuple[Peer, PublicKeys]:
        """Say which laptop is at an address. That it is it, and nobody else, is told by what it signs afterwards."""
        with Line(url, silence=SILENCE, trust=Trust(anybody=True), connect=CONNECT) as line:
            theirs = own_keys(line)
            peer = self.records.of_key(theirs.key_id) or self._known_before(line, theirs)
        if peer is None or peer.keys != theirs:
            raise NotAdmitted(
                "whoever is there is not known to this relay",
                where=url,
                why="it was never enrolled, or has new keys",
                hint="dbsync relay invite NODE   then, over there: dbsync enrol --relay URL CODE",
            )
        if peer.revoked_at is not None:
            raise NotAdmitted(f"{peer.name} is revoked here", where=url, why=peer.revoked_why or "")
        return peer, theirs

    def _known_before(self, line: Line, theirs: PublicKeys) -> Peer | None:
        """Know a laptop by other keys from now on, where the keys that it is known by say so; nobody told us when it changed them."""
        for said in own_successions(line):
            known = self.records.of_key(said.old)
            if known is None or known.keys is None or known.revoked_at is not None:
                continue
            with suppress(FormatError, NotAdmitted):  # a stranger who says so
                verify_succession(known.keys, theirs, said)
                self.records.rotate(known.name, theirs)
                log.info("keys_rotated", node=known.name, key=theirs.key_id)
                return self.records.of_key(theirs.key_id)
        return None

    def _bring_home(self, pull: Pull, node: str) -> int:
        """Give a laptop its receipts and its certificate, unless it was given the very same."""
        acknowledged = 0
        receipts = self._new(node, Paper.RECEIPTS)
        if receipts is not None:
            acknowledged = pull.receipts(receipts)
            self._given[node, Paper.RECEIPTS] = receipts
        certificate = self._new(node, Paper.CERTIFICATE)
        if certificate is not None:
            pull.certificate(certificate)
            self._given[node, Paper.CERTIFICATE] = certificate
        self._bring_word(pull, node)
        return acknowledged

    def _bring_word(self, pull: Pull, node: str) -> None:
        """Give a laptop what the upstream said to the papers that were fetched there."""
        arrived = self._new(node, Paper.LISTS)
        if arrived is not None:
            pull.arrived(arrived)
            self._given[node, Paper.LISTS] = arrived
        for name in (one.name for one in self.records.papers.of(node) if one.name.kind is Kind.ANSWER):
            with suppress(FormatError):  # this disk does not give it back: it is asked again
                pull.answer(name.file(), sealed.read(self.spool.folder, name))
            self.spool.let_go(name)

    def _new(self, node: str, kind: Paper) -> Signed | None:
        found = self.records.paper(node, kind)
        return None if found == self._given.get((node, kind)) else found

    def _offered(self, pull: Pull, node: str) -> Iterator[Offered]:
        """Give what lies ready, until nothing is left; the laptop gets the notes that it says it misses."""
        while True:
            held = self.records.held(node)
            laid = pull.laid_out(_spans(held))
            for one in held:
                if one.name.file() in laid.unnoted:
                    pull.taken(one.name.file(), self.spool.note(one))
            if not laid.offered:
                return
            if {offered.file for offered in laid.offered} & {one.name.file() for one in held}:
                raise pull.nonsense("it offers what it was told is here")
            yield from laid.offered

    def _take(self, pull: Pull, node: str, offered: Offered, sender: PublicKeys) -> None:
        """Fetch a bundle, going on where a broken line stopped; take custody of it when it is whole, and say so."""
        found = read_name(offered.file)
        if found is None or found[1] or found[0].node != node:
            raise pull.nonsense("it offers what is no bundle of its own")
        name = found[0]
        self._fetch(pull, name, offered)
        note = self.spool.finish(name, offered.signature, sender)
        log.info("custody_taken", node=name.node, bundle=name.file())
        pull.taken(name.file(), note)

    def _fetch(self, pull: Pull, name: Name, offered: Offered) -> None:
        """Have the bytes of something here."""
        most = self.spool.largest(name)
        if offered.size > most:
            raise Exhausted("it is larger than this relay takes", where=name.file(), why=f"{most:,} bytes")
        place = self.spool.go_on(name, offered.signature)
        while place < offered.size:
            if self.stop():
                raise Interrupted("the visit was stopped", where=name.node, why="the service was told to end")
            place = self.spool.add(name, place, pull.part(offered, place))

    def _fetch_papers(self, pull: Pull, node: str, sender: PublicKeys) -> None:
        """Fetch lists and a question; a laptop may be too old to have any."""
        here = [one.name.file() for one in self.records.papers.of(node)]
        for one in pull.papers(here) or ():
            name = read_sealed_name(one.file)
            if name is None or name.node != node or name.kind is Kind.ANSWER:
                raise pull.nonsense("it offers what is no paper of its own")
            self._fetch(pull, name, one)
            self.spool.finish_paper(name, one.signature, sender)
            log.info("paper_taken", node=node, paper=name.file())


def _spans(held: Sequence[Held]) -> list[Mapping[str, object]]:
    """Say which batches are held, in few words: several in a row are one span."""
    spans: list[dict[str, Any]] = []
    for name in (one.name for one in held):
        last = spans[-1] if spans else None
        if last is not None and last["life"] == name.life and last["last"] + 1 == name.first:
            last["last"] = name.last
        else:
            spans.append({"life": name.life, "first": name.first, "last": name.last})
    return list(spans)
