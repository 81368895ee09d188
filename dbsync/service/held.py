"""The link of this node while it is held to send what leaves before the receipts are back: on a stick, with a middleman."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

from psycopg.types.json import Jsonb

from dbsync import schema
from dbsync.bundle.marks import mark
from dbsync.bundle.receipts import Carried
from dbsync.bundle.stream import Head
from dbsync.changelog.lives import Kind
from dbsync.changelog.outbox import Outbox
from dbsync.changelog.reader import Reader
from dbsync.config.models import Config
from dbsync.errors import IdentityConflict, NotAdmitted
from dbsync.identity import registry
from dbsync.identity.certificate import read_certificate
from dbsync.identity.keys import PublicKeys, Signed
from dbsync.model.batch import UNKNOWN, Receipt
from dbsync.postgres import connect, translated
from dbsync.service import lives
from dbsync.service.node import Node
from dbsync.statements import statement

PATIENCE = 5.0
"""Seconds in which a service that ships the same link right now may come to an end."""


@dataclass(slots=True, kw_only=True)
class HeldLink:
    """One link, its claim held: what it sends is sealed for the upstream whose keys are pinned."""

    node: Node
    reader: Reader
    name: str
    """The link's, and the upstream's here."""
    theirs: PublicKeys
    replaced: bool = False
    """Whether others of the upstream were pinned before: it lost its keys, and opens nothing that was sealed for those."""

    @property
    def head(self) -> Head:
        """Say whose batches go, and for whom."""
        return Head(
            node=self.node.name,
            lineage=self.node.lineage,
            incarnation=self.node.incarnation,
            link=self.name,
            destination=self.name,
        )

    @property
    def outbox(self) -> Outbox:
        """Give what the upstream has no receipt for."""
        return Outbox(self.reader)

    def recipients(self, config: Config) -> list[str]:
        """Give whom everything is sealed for."""
        return [self.theirs.sealing, *config.upstream.recovery]

    def is_for(self, told: str | None, recipients: Iterable[str]) -> bool:
        """Say whether something that was written before is sealed for these, as its mark tells, or its age."""
        return told == mark(recipients) or (told is None and not self.replaced)

    def acknowledged(self) -> int:
        """Give the number of the last batch that has its receipt."""
        with translated("source"):
            return self.reader.position().last_number

    def waiting(self) -> int:
        """Count the batches that have left and have no receipt."""
        with translated("source"):
            return len(self.reader.under_way())

    def recorded(self) -> int:
        """Give the number of the last batch that ever left in this life, as far as this database remembers."""
        with translated("source"):
            return max([self.reader.position().last_number, *(one.number for one in self.reader.under_way())])

    def take_home(self, receipts: Iterable[Carried]) -> int:
        """Take the receipts of this life of the node, by whatever way they came; give how many batches they acknowledge.

        Those of another life are for batches that went anew, or will. One for a batch that this database has not sent
        tells that it was restored or copied: then it begins a new life.
        """
        taken = 0
        for carried in receipts:
            if (carried.receipt.incarnation, carried.link) != (self.node.incarnation, self.name):
                continue
            try:
                with translated("source"):
                    taken += self.outbox.take_out(carried.receipt)
            except IdentityConflict:
                self.begin_life()
        return taken

    def learn(self, certificate: Signed | None) -> None:
        """Note what the tiers above have, from a certificate, by whatever way it came; one of another life tells nothing."""
        if certificate is None:
            return
        found = read_certificate(certificate, self.theirs)
        if (found.node, found.incarnation, found.link) != (self.node.name, self.node.incarnation, self.name):
            return
        noted = {"link": self.name, "above": Jsonb(dict(found.above))}
        with translated("source"):
            self.reader.connection.execute(statement("changelog", "note_above"), noted)

    def go_back(self, receipts: Iterable[Carried]) -> bool:
        """Go back to what the upstream has, where these receipts are all that it remembers; say whether it had lost anything.

        What is sent again for nothing is passed over there: a mistake of whoever says so costs time only.
        """
        memory = _Memory(tuple(receipts))
        known = lives.Lives(connection=self.reader.connection, upstream=memory, node=self.node.name, link=self.name)
        incarnation = self.node.incarnation
        with translated("source"):
            position = self.reader.position()
            under_way = {one.number: one.hash for one in self.reader.under_way()}
        contact = known.contact(incarnation, position, under_way, known.last(incarnation))
        if contact not in (lives.Contact.UPSTREAM_BACK, lives.Contact.PARTED):
            return False
        self._go_on_as(known.send_again(incarnation, position, parted=contact is lives.Contact.PARTED))
        return True

    def begin_life(self) -> None:
        """Go on as a new incarnation: others know more of this one than its database. What is pending goes anew."""
        self._go_on_as(lives.begin(self.reader.connection, self.name, self.node.incarnation, Kind.RESTORED))

    def _go_on_as(self, incarnation: UUID) -> None:
        self.node = replace(self.node, incarnation=incarnation)
        self.reader.go_on_as(incarnation)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What an upstream remembers, as it wrote it down."""

    receipts: tuple[Carried, ...]

    def last_receipt(self, node: str, incarnation: UUID, link: str) -> Receipt | None:
        asked = (node, incarnation, link)
        had = (one for one in self.receipts if one.receipt.hash != UNKNOWN)
        found = (one.receipt for one in had if (one.receipt.node, one.receipt.incarnation, one.link) == asked)
        return next(found, None)


@contextmanager
def held_link(config: Config) -> Iterator[HeldLink]:
    """Hold the link of this node. Raises NotAdmitted before it was enrolled, Interrupted while the service ships the same."""
    label = config.upstream.label
    with connect(config.node.source, name="source", application="dbsync bundles") as source:
        schema.require(source, "source")
        node = lives.at_home(source, config.node.name)
        with translated("source"):
            upstream = registry.pinned(source, label)
            if upstream is None or upstream.keys is None:
                raise NotAdmitted(
                    f"the keys of {label} are not known here",
                    where="source",
                    why="a bundle is sealed for its destination alone",
                    hint="dbsync enrol URL CODE   (with the code that dbsync nodes invite printed there)",
                )
            replaced = registry.had_others(source, label)
            reader = Reader(source, node=node.name, lineage=node.lineage, incarnation=node.incarnation, link=label)
            reader.claim(PATIENCE)
        yield HeldLink(node=node, reader=reader, name=label, theirs=upstream.keys, replaced=replaced)
