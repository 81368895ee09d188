"""Middlemen: bundles and papers are handed to whoever is in reach, and receipts taken from them. The changes stay here until then."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import structlog

from dbsync import traces
from dbsync.bundle.custody import read_note
from dbsync.bundle.find import Left
from dbsync.bundle.names import SIGNATURE, BundleName, SealedName, read_name
from dbsync.bundle.receipts import believed
from dbsync.config.models import Config, RelayRoute
from dbsync.errors import DbsyncError, FormatError, NotAdmitted, Unreachable
from dbsync.identity import registry
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.identity.registry import Role
from dbsync.model.batch import Batch
from dbsync.postgres import translated
from dbsync.service import custody
from dbsync.service.comparing import Comparing
from dbsync.service.held import HeldLink, held_link
from dbsync.service.papers import Papers, answers
from dbsync.transport.carry import Carry
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from dbsync.transport.trust import Trust

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What a visit to one relay came to."""

    relay: str
    batches: int = 0
    """Handed over now."""
    changes: int = 0
    acknowledged: int = 0
    """Batches whose receipts the relay had."""
    trouble: DbsyncError | None = None
    """What was in the way."""


def visit(config: Config) -> list[Met]:
    """Visit every relay that is in reach: take receipts home, hand over what has none."""
    keys = Keys.load(Path(config.node.keys))
    met: list[Met] = []
    with held_link(config) as held:
        for relay in config.relays:
            try:
                met.append(_Visit(config, keys, held, relay).make())
            except DbsyncError as error:
                met.append(Met(relay=relay.label, trouble=error))
        with translated("source"):
            custody.forget(held.reader.connection, held.name)
    return met


def certificates(config: Config, source: psycopg.Connection, node: str) -> Iterator[Signed]:
    """Give the certificate of this node that each relay in reach has from the upstream."""
    keys = Keys.load(Path(config.node.keys))
    for relay in config.relays:
        try:
            theirs = _pinned(config, source, relay)
            with _line(config, keys, relay, theirs) as carry:
                found = carry.certificate(node)
        except (Unreachable, NotAdmitted) as error:
            log.info("relay_not_asked", relay=relay.label, reason=str(error))
            continue
        if found is not None:
            yield found


def _pinned(config: Config, source: psycopg.Connection, relay: RelayRoute) -> PublicKeys:
    with translated("source"):
        peer = registry.pinned(source, relay.label, Role.RELAY)
    if peer is None or peer.keys is None:
        raise NotAdmitted(
            f"this node was never enrolled with the relay {relay.label}",
            where=relay.url,
            hint=f"dbsync enrol --relay {relay.url} CODE   (the code: dbsync relay invite {config.node.name}, over there)",
        )
    return peer.keys


@contextmanager
def _line(config: Config, keys: Keys, relay: RelayRoute, theirs: PublicKeys) -> Iterator[Carry]:
    with Line(relay.url, silence=config.service.silence, trust=Trust(ca=relay.ca, keys=theirs)) as line:
        yield Carry(exchange=Exchange(line=line, keys=keys, theirs=theirs))


@dataclass(frozen=True, slots=True)
class _Visit:
    config: Config
    keys: Keys
    held: HeldLink
    relay: RelayRoute

    def make(self) -> Met:
        theirs = _pinned(self.config, self.held.reader.connection, self.relay)
        with _line(self.config, self.keys, self.relay, theirs) as carry:
            acknowledged = self._take_home(carry)
            self.held.learn(carry.certificate(self.held.node.name))
            there, papers = self._held(carry), carry.papers()
            batches = changes = 0
            with self._asking(carry, papers) as until:
                most = self.config.batch.max_changes
                with translated("source"), self.held.outbox.batches(most, beside=there, until=until) as waiting:
                    for batch in waiting:
                        with traces.of("hand over", batch.header):
                            self._hand_over(carry, theirs, batch)
                        batches += 1
                        changes += batch.header.changes
            if papers is not None:
                self._hand_over_papers(carry, papers)
        if batches:
            log.info("handed_over", relay=self.relay.label, batches=batches, changes=changes)
        return Met(relay=self.relay.label, batches=batches, changes=changes, acknowledged=acknowledged)

    def _take_home(self, carry: Carry) -> int:
        paper = carry.receipts(self.held.node.name)
        if paper is None:
            return 0
        return self.held.take_home(believed(paper, node=self.held.node.name, keys=self.held.theirs))

    def _held(self, carry: Carry) -> set[int]:
        """Say which batches of this life the relay has."""
        life = self.held.node.incarnation.hex[:8]
        names = [found[0] for found in map(read_name, carry.held()) if found is not None and found[0].life == life]
        return {number for name in names for number in range(name.first, min(name.last, name.first + 10_000) + 1)}

    @property
    def _papers(self) -> Papers:
        comparing = Comparing(config=self.config, held=self.held, keys=self.keys)
        return Papers(held=self.held, keys=self.keys, comparing=comparing)

    @contextmanager
    def _asking(self, carry: Carry, papers: list[str] | None) -> Iterator[str | None]:
        """Take home what answers and lists the relay has word of, and ask what is to be asked, when the batches of inside have left.

        Gives the snapshot that these end with, if any; a relay that is too old for papers is asked nothing.
        """
        if papers is None:
            yield None
            return
        own = self._papers
        own.take_arrived(carry.arrived())
        for name in answers(papers, self.held.node.name):
            self._take_answer(carry, name)
        left: list[Left] = []
        with own.comparing.asking(left) as asking:
            yield asking.until if asking else None
            own.comparing.write(asking, left)
        own.tell(left)

    def _take_answer(self, carry: Carry, name: SealedName) -> None:
        """Take an answer home, and have the relay let go of it: where it is of no use, the question goes again."""
        try:
            answer = carry.answer(name.file())
        except DbsyncError as error:
            if error.try_again:
                raise
            log.warning("comparison_troubled", link=self.held.name, paper=name.file(), reason=str(error))
            answer = None
        if answer is not None:
            self._papers.take_answer(name, answer)
        carry.answer_taken(name.file())

    def _hand_over_papers(self, carry: Carry, there: list[str]) -> None:
        """Bring the papers that the relay does not have; one that he does not take waits, and nothing waits for it."""
        wanted = [name for name in self._papers.wanted() if name.file() not in there]
        with tempfile.TemporaryDirectory(prefix="dbsync-") as room:
            here = Path(room).resolve()
            for name in self._papers.written(here, wanted):
                self._hand_over_paper(carry, here, name)

    def _hand_over_paper(self, carry: Carry, room: Path, name: SealedName) -> None:
        path = room / name.file()
        try:
            carry.bring(path, path.with_name(path.name + SIGNATURE).read_bytes())
        except DbsyncError as error:
            if error.try_again:
                raise
            log.warning("paper_refused", relay=self.relay.label, paper=name.file(), reason=str(error))
            return
        log.info("paper_handed_over", relay=self.relay.label, paper=name.file())

    def _hand_over(self, carry: Carry, theirs: PublicKeys, batch: Batch) -> None:
        """Seal one batch, bring it, and keep the note for it."""
        header = batch.header
        also = [theirs.sealing] if self.relay.trusted else []
        with tempfile.TemporaryDirectory(prefix="dbsync-") as room:
            path = custody.seal(self.held, batch, Path(room), config=self.config, keys=self.keys, also=also)
            signature = path.with_name(path.name + SIGNATURE).read_bytes()
            paper = carry.bring(path, signature)
        if paper is None:
            raise FormatError("the relay gave no custody note", where=self.relay.url)
        note = read_note(paper, theirs)
        if note.name != BundleName.of(header.node, header.incarnation, header.number, header.number):
            raise FormatError("the custody note is for another bundle", where=self.relay.url)
        with translated("source"):
            custody.keep(
                self.held.reader.connection,
                link=self.held.name,
                incarnation=header.incarnation,
                relay=self.relay.label,
                note=note,
                signed=paper,
            )
