"""Middlemen: bundles are handed to whoever is in reach, and receipts taken from them. The changes stay here until then."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from dbsync.batch.codec import encode
from dbsync.bundle.custody import Note, read_note
from dbsync.bundle.names import SIGNATURE, BundleName, read_name
from dbsync.bundle.receipts import believed
from dbsync.bundle.write import write_bundle
from dbsync.config.models import Config, RelayRoute
from dbsync.errors import DbsyncError, FormatError, NotAdmitted
from dbsync.identity import registry
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.identity.registry import Role
from dbsync.model.batch import Batch
from dbsync.postgres import translated
from dbsync.service.held import HeldLink, held_link
from dbsync.statements import statement
from dbsync.transport.carry import Carry
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line

WHOLE = 1 << 62
"""No bundle for a relay is split."""

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
            held.reader.connection.execute(statement("custody", "forget"), {"link": held.name})
    return met


@dataclass(frozen=True, slots=True)
class _Visit:
    config: Config
    keys: Keys
    held: HeldLink
    relay: RelayRoute

    def make(self) -> Met:
        theirs = self._pinned()
        with self._line(theirs) as carry:
            acknowledged = self._take_home(carry)
            there = self._held(carry)
            batches = changes = 0
            for batch in self._batches(there):
                self._hand_over(carry, theirs, batch)
                batches += 1
                changes += batch.header.changes
        if batches:
            log.info("handed_over", relay=self.relay.label, batches=batches, changes=changes)
        return Met(relay=self.relay.label, batches=batches, changes=changes, acknowledged=acknowledged)

    def _pinned(self) -> PublicKeys:
        with translated("source"):
            peer = registry.pinned(self.held.reader.connection, self.relay.label, Role.RELAY)
        if peer is None or peer.keys is None:
            raise NotAdmitted(
                f"this node was never enrolled with the relay {self.relay.label}",
                where=self.relay.url,
                hint=f"dbsync enrol --relay {self.relay.url} CODE   (the code: dbsync relay invite {self.held.node.name}, over there)",
            )
        return peer.keys

    @contextmanager
    def _line(self, theirs: PublicKeys) -> Iterator[Carry]:
        ca = Path(self.relay.ca) if self.relay.ca else None
        with Line(self.relay.url, silence=self.config.service.silence, ca=ca) as line:
            yield Carry(exchange=Exchange(line=line, keys=self.keys, theirs=theirs))

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

    def _batches(self, there: set[int]) -> Iterator[Batch]:
        with translated("source"):
            yield from self.held.outbox.batches(self.config.batch.max_changes, beside=there)

    def _hand_over(self, carry: Carry, theirs: PublicKeys, batch: Batch) -> None:
        """Seal one batch, bring it, and keep the note for it."""
        header = batch.header
        readers = [self.held.theirs.sealing, *self.config.upstream.recovery]
        readers += [theirs.sealing] if self.relay.trusted else []
        with tempfile.TemporaryDirectory(prefix="dbsync-") as room:
            (path,) = write_bundle(
                Path(room),
                self.held.head,
                [(header.number, encode(batch))],
                recipients=readers,
                keys=self.keys,
                limit=WHOLE,
            )
            signature = path.with_name(path.name + SIGNATURE).read_bytes()
            paper = carry.bring(path, signature)
        if paper is None:
            raise FormatError("the relay gave no custody note", where=self.relay.url)
        note = read_note(paper, theirs)
        if note.name != BundleName.of(header.node, header.incarnation, header.number, header.number):
            raise FormatError("the custody note is for another bundle", where=self.relay.url)
        self._keep(batch, note, paper)

    def _keep(self, batch: Batch, note: Note, signed: Signed) -> None:
        header = batch.header
        kept: Mapping[str, object] = {
            "link": self.held.name,
            "incarnation": header.incarnation,
            "number": header.number,
            "relay": self.relay.label,
            "at": note.at,
            "note": signed.data,
            "signature": signed.signature,
        }
        with translated("source"):
            self.held.reader.connection.execute(statement("custody", "note"), kept)
