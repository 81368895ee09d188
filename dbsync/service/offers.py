"""Offers: bundles and papers are made ready for relays that come for them, each sealed for who may have it, until he says that he has.

What has its receipt, or belongs to a life that has ended, is offered no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import structlog

from dbsync import traces
from dbsync.bundle import files, sealed
from dbsync.bundle.custody import read_note
from dbsync.bundle.find import Left
from dbsync.bundle.names import BundleName, Kind, SealedName
from dbsync.bundle.receipts import believed
from dbsync.config.models import Config
from dbsync.errors import FormatError, Interrupted, Refusal
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.model.batch import Batch
from dbsync.postgres import translated
from dbsync.service import custody
from dbsync.service import node as nodes
from dbsync.service.comparing import Comparing
from dbsync.service.held import HeldLink, held_link
from dbsync.service.papers import Papers
from dbsync.service.shelves import Offer, Shelf, Shelves

ROOM = 256 << 20
"""Bytes that lie ready for one relay; the bundle that reaches it is the last for now."""
HOLD = 5.0
"""Seconds in which bundles are made before the link is let go of: the service may want it. One is made in any case."""
UNNOTED = 1_000
"""Bundles without a note that a relay is told of at once."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """Who comes for bundles."""

    name: str
    keys: PublicKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Batches that a relay has, of one life, from one number to another."""

    life: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """What a relay is told."""

    offers: tuple[Offer, ...]
    unnoted: tuple[BundleName, ...]
    """Bundles that he has, and this node no note for: the line broke before it came."""


@dataclass(kw_only=True)
class Offers:
    """What a node has for relays, and takes from them."""

    config: Callable[[], Config]
    shelves: Shelves
    stop: Callable[[], bool] = bool
    """Asked again and again: whoever is stopped raises Interrupted."""

    def lay_out(self, relay: Relay, has: Sequence[Span]) -> Laid:
        """Make ready what a relay does not have, as much as there is room and time for; nothing, where all is with him.

        The link is held meanwhile. Raises Interrupted while the service ships over it, Refusal while shipping is paused.
        """
        config, shelf = self.config(), self.shelves.of(relay.keys.key_id)
        also = [relay.keys.sealing] if config.trusts(relay.name) else []
        with held_link(config) as held, shelf.lock, translated("source"), files.told_here("no bundle was made ready"):
            if held.reader.paused():
                raise Refusal("shipping is paused there", where=held.name, hint=f"on {held.node.name}: dbsync resume")
            batches = _recorded(held)
            his = {name for name in batches if _is_in(has, name)}
            shelf.seal_for([*held.recipients(config), *also])
            shelf.clear({name: batch for name, batch in batches.items() if name not in his})
            self._fill(_Filling(config=config, held=held, shelf=shelf, also=also), his)
            noted = custody.noted(
                held.reader.connection, link=held.name, incarnation=held.node.incarnation, relay=relay.name
            )
            unnoted = sorted((name for name in his if name.first not in noted), key=lambda name: name.first)
            return Laid(offers=tuple(shelf.offers()), unnoted=tuple(unnoted[:UNNOTED]))

    def lay_out_papers(self, relay: Relay, has: Collection[str]) -> tuple[Offer, ...]:
        """Make ready the papers that a relay does not have; what nobody waits for any more is cleared away."""
        shelf = self.shelves.of(relay.keys.key_id)
        with self._papers() as papers, shelf.lock, files.told_here("no paper was made ready"):
            wanted = papers.wanted()
            for kind in (Kind.LIST, Kind.QUESTION):
                for name in set(sealed.found(shelf.folder, kind)) - set(wanted):
                    sealed.remove(shelf.folder, name)
            missing = [name for name in wanted if name.file() not in has]
            return tuple(shelf.offer(name) for name in papers.written(shelf.folder, missing))

    def part(self, relay: Relay, name: BundleName | SealedName, place: int, size: int) -> bytes | None:
        """Give some bytes of what lies ready, fewer at its end; None of what does no more, or is sealed for one trusted no more."""
        shelf = self.shelves.of(relay.keys.key_id)
        if (
            isinstance(name, BundleName)
            and shelf.is_open_to(relay.keys.sealing)
            and not self.config().trusts(relay.name)
        ):
            return None
        return shelf.part(name, place, size)

    def taken(self, relay: Relay, name: BundleName, note: Signed, source: psycopg.Connection) -> None:
        """Keep a relay's note for a bundle, which need not lie ready any longer. Raises FormatError for one that is untrue."""
        found, shelf, link = (
            read_note(note, relay.keys),
            self.shelves.of(relay.keys.key_id),
            self.config().upstream.label,
        )
        lies_here = shelf.digest(name)
        if found.name != name or name.first != name.last:
            raise _untrue(relay, "it is for another bundle")
        if lies_here not in (None, (found.bytes, found.hash)):
            raise _untrue(relay, "it is for other bytes than those that lie ready")
        with translated("source"):
            node = nodes.read(source)
            if (name.node, name.life) == (node.name, node.incarnation.hex[:8]):
                custody.keep(source, link=link, incarnation=node.incarnation, relay=relay.name, note=found, signed=note)
        with shelf.lock:
            shelf.remove(name)

    def take_home(self, signed: Signed) -> int:
        """Take this node's receipts as its upstream signed them, whoever brings them; give how many batches they acknowledge."""
        with held_link(self.config()) as held:
            taken = held.take_home(believed(signed, node=held.node.name, keys=held.theirs))
            with translated("source"):
                custody.forget(held.reader.connection, held.name)
        return taken

    def learn(self, signed: Signed) -> None:
        """Learn from this node's certificate what the tiers above have."""
        with held_link(self.config()) as held:
            held.learn(signed)

    def take_arrived(self, signed: Signed) -> int:
        """Hear which of this node's lists its upstream has; give how many waited for that."""
        with self._papers() as papers:
            return papers.take_arrived(signed)

    def take_answer(self, name: SealedName, signed: Signed) -> None:
        """Take the answer to a question; one that nobody asks any more leads to nothing."""
        with self._papers() as papers:
            papers.take_answer(name, signed)

    @contextmanager
    def _papers(self) -> Iterator[Papers]:
        config = self.config()
        with held_link(config) as held:
            yield _papers_of(config, held, self.stop)

    def _fill(self, filling: _Filling, his: set[BundleName]) -> None:
        """Make bundles of what is not there, and when all of it is, ask what is to be asked about it."""
        papers, left = _papers_of(filling.config, filling.held, self.stop), list[Left]()
        with papers.comparing.asking(left) as asking:
            if self._make(filling, his, until=asking.until if asking else None):
                papers.comparing.write(asking, left)
        papers.tell(left)

    def _make(self, filling: _Filling, his: set[BundleName], *, until: str | None) -> bool:
        """Make bundles until there is no room or no time left; say whether nothing is."""
        held, shelf, end = filling.held, filling.shelf, time.monotonic() + HOLD
        room, lie = ROOM - shelf.size(), shelf.names()
        beside = {name.first for name in (*his, *lie)}
        made: list[BundleName] = []
        batch: Batch | None = None
        with held.outbox.batches(filling.config.batch.max_changes, beside=beside, until=until) as batches:
            while room > 0 and (not made or time.monotonic() < end) and (batch := next(batches, None)) is not None:
                with traces.of("lay ready", batch.header):
                    name, size = filling.make(replace(batch, payload=self._until_stopped(batch.payload)))
                made.append(name)
                room -= size
        recorded = _recorded(held)
        shelf.put({name: recorded[name] for name in made})
        return room > 0 and batch is None

    def _until_stopped(self, payload: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in payload:
            if self.stop():
                raise Interrupted("no bundle was made ready", where="outbox", why="the service was told to end")
            yield chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filling:
    """A shelf while bundles are put onto it."""

    config: Config
    held: HeldLink
    shelf: Shelf
    also: Sequence[str]

    def make(self, batch: Batch) -> tuple[BundleName, int]:
        """Seal one batch; give the bundle's name and size."""
        keys, number = Keys.load(Path(self.config.node.keys)), batch.header.number
        path = custody.seal(self.held, batch, self.shelf.folder, config=self.config, keys=keys, also=self.also)
        return BundleName.of(self.held.node.name, self.held.node.incarnation, number, number), path.stat().st_size


def _papers_of(config: Config, held: HeldLink, stop: Callable[[], bool]) -> Papers:
    keys = Keys.load(Path(config.node.keys))
    return Papers(held=held, keys=keys, comparing=Comparing(config=config, held=held, keys=keys, stop=stop))


def _recorded(held: HeldLink) -> Mapping[BundleName, bytes]:
    """Give the batches of this life that have no receipt, as bundles of one each, with their hashes."""
    node = held.node
    return {
        BundleName.of(node.name, node.incarnation, one.number, one.number): one.hash for one in held.reader.under_way()
    }


def _is_in(spans: Sequence[Span], name: BundleName) -> bool:
    return any(span.life == name.life and span.first <= name.first <= span.last for span in spans)


def _untrue(relay: Relay, why: str) -> FormatError:
    return FormatError("the custody note is not believed", where=relay.name, why=why)
