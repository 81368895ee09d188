"""The hatch of a laptop: relays that come by take what is sealed out, and give in what is signed for it. See docs/reference/http.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog

from dbsync.bundle.names import BundleName, Kind, read_name, read_sealed_name
from dbsync.identity.keys import Signed
from dbsync.identity.registry import Peer, Role
from dbsync.service.offers import Offers, Relay, Span
from dbsync.service.shelves import Offer
from dbsync.web.door import Registered, Said, Visit
from dbsync.web.operations import BUNDLE, PART
from dbsync.web.says import Malformed, base64_text, members, number, octets
from dbsync.web.uploads import Misplaced

_LIFE = re.compile(r"[0-9a-f]{8}")
_LARGEST = 1 << 62

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RelaysOnly(Registered):
    """Who is known as a relay by a node's database; to all others nothing is shown."""

    def of_key(self, key_id: str) -> Peer | None:
        """Give whose key it is."""
        found = Registered.of_key(self, key_id)
        return found if found is not None and found.role is Role.RELAY else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hatch:
    """Answers relays that the door let in."""

    offers: Offers
    connections: Callable[[], AbstractContextManager[psycopg.Connection]]
    """Lends a connection to the node's database, in autocommit, as a context manager."""

    def time(self, _visit: Visit) -> Said:
        """Tell the time by which requests are judged."""
        return Said(status=200, body={"now": datetime.now(UTC).isoformat()})

    def lay_out(self, visit: Visit) -> Said:
        """Say what lies ready for a relay beside what it has."""
        laid = self.offers.lay_out(_relay(visit), _spans(visit.body))
        return Said(
            status=200, body={"bundles": _offered(laid.offers), "unnoted": [name.file() for name in laid.unnoted]}
        )

    def part(self, visit: Visit) -> Said:
        """Give a part of a bundle or a paper."""
        name = read_sealed_name(visit.path["file"]) or _bundle(visit)
        data = self.offers.part(_relay(visit), name, number(visit.query, "offset"), PART)
        if data is None:
            raise Misplaced("it lies ready no more", where=name.file(), hint="ask what does")
        return Said(status=200, raw=data, headers={"content-type": BUNDLE})

    def taken(self, visit: Visit) -> Said:
        """Take a relay's note for a bundle."""
        name = _bundle(visit)
        with self.connections() as connection:
            self.offers.taken(_relay(visit), name, _signed(visit.body), connection)
        log.info("handed_over", relay=visit.peer.name, bundle=name.file())
        return Said(status=200, body={})

    def papers(self, visit: Visit) -> Said:
        """Say which papers lie ready for a relay beside what it has."""
        has = members(visit.body, {"held"})["held"]
        if not isinstance(has, list) or not all(isinstance(name, str) for name in has):
            raise Malformed("held is no list of names", where="request")
        return Said(status=200, body={"papers": _offered(self.offers.lay_out_papers(_relay(visit), has))})

    def answer(self, visit: Visit) -> Said:
        """Take the upstream's answer to a question."""
        name = read_sealed_name(visit.path["answer"])
        if name is None or name.kind is not Kind.ANSWER:
            raise Malformed("that is no answer's name", where="request")
        self.offers.take_answer(name, _signed(visit.body))
        return Said(status=200, body={})

    def arrived(self, visit: Visit) -> Said:
        """Hear which of this node's lists are there."""
        return Said(status=200, body={"arrived": self.offers.take_arrived(_signed(visit.body))})

    def receipts(self, visit: Visit) -> Said:
        """Take this node's receipts."""
        acknowledged = self.offers.take_home(_signed(visit.body))
        if acknowledged:
            log.info("receipts_taken", relay=visit.peer.name, batches=acknowledged)
        return Said(status=200, body={"acknowledged": acknowledged})

    def certificate(self, visit: Visit) -> Said:
        """Take this node's certificate."""
        self.offers.learn(_signed(visit.body))
        return Said(status=200, body={})


def _relay(visit: Visit) -> Relay:
    assert visit.peer.keys is not None
    return Relay(name=visit.peer.name, keys=visit.peer.keys)


def _bundle(visit: Visit) -> BundleName:
    found = read_name(visit.path["file"])
    if found is None or found[1]:
        raise Malformed("that is no bundle's name", where="request")
    return found[0]


def _offered(offers: Iterable[Offer]) -> list[Mapping[str, object]]:
    return [
        {"file": offer.name.file(), "bytes": offer.size, "signature": base64_text(offer.signature)} for offer in offers
    ]


def _spans(body: bytes) -> list[Span]:
    found = members(body, {"held"})["held"]
    if not isinstance(found, list):
        raise Malformed("held is no list", where="request")
    return [_span(one) for one in found]


def _span(said: object) -> Span:
    if isinstance(said, dict) and set(said) == {"life", "first", "last"}:
        life, first, last = said["life"], said["first"], said["last"]
        numbers = all(type(one) is int and 0 <= one <= _LARGEST for one in (first, last))
        if isinstance(life, str) and _LIFE.fullmatch(life) and numbers:
            return Span(life=life, first=first, last=last)
    raise Malformed("held tells of no batches", where="request", why="it holds life, first, last")


def _signed(body: bytes) -> Signed:
    said: Mapping[str, Any] = members(body, {"data", "signature"})
    return Signed(data=octets(said, "data"), signature=octets(said, "signature"))
