"""Batches on a stick at their destination: brought in, each with its receipt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import psycopg

from dbsync import schema
from dbsync.apply import receipts, timelines
from dbsync.apply.applier import Applier
from dbsync.batch.codec import Limits, decode
from dbsync.bundle import files
from dbsync.bundle.enrolment import find_requests, remove_request
from dbsync.bundle.find import Bundle, Left, find_bundles
from dbsync.bundle.names import BundleName, certificate_name, lists_name, read_receipts_name
from dbsync.bundle.papers import write_paper
from dbsync.bundle.read import open_bundle
from dbsync.bundle.receipts import Carried, sign_receipts, write_receipts
from dbsync.bundle.stream import Head
from dbsync.config.models import Config
from dbsync.errors import DbsyncError, FormatError, IdentityConflict, NotAdmitted
from dbsync.identity import registry
from dbsync.identity.keys import Keys, Signed
from dbsync.model.batch import Batch, Header, Receipt
from dbsync.postgres import connect, translated
from dbsync.service import lists
from dbsync.service.admission import NotYet, admit, known_sender
from dbsync.service.answering import Answered, Answering
from dbsync.service.certificate import issue_newest
from dbsync.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What one bundle brought."""

    name: BundleName
    node: str
    applied: tuple[int, ...]
    """Numbers of the batches that were applied now."""
    known: int
    """Batches that were here already."""
    changes: int
    held: int
    """Changes that went into quarantine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was done with a stick."""

    enrolled: tuple[str, ...]
    """Nodes that came in with their invitation's code."""
    brought: tuple[Brought, ...]
    lists: tuple[lists.Brought, ...]
    """Lists of checked boxes."""
    answered: tuple[Answered, ...]
    """Questions of nodes that compare themselves with what is here."""
    left: tuple[Left, ...]


def bring_in(config: Config, folder: Path, *, beside: Collection[BundleName] = ()) -> Imported:
    """Apply what is in a folder: bundles of any nodes, in any order, whole sticks or parts of them.

    Nodes that come with their invitation are let in first. A node's batches go in by their numbers, each with its receipt;
    those that are here already are passed over. What cannot be used stays, with a reason. Receipts are written beside the
    bundles, also for what came before. Two who import at once take turns: a batch is applied once. Bundles ``beside`` these
    were seen to the last byte.
    """
    keys = Keys.load(Path(config.node.keys))
    with (
        connect(config.node.source, name="upstream", application="dbsync bundles") as connection,
        connect(config.node.source, name="upstream", application="dbsync bundles") as asking,
    ):
        schema.require(connection, "upstream")
        with translated("upstream"):
            found = find_bundles(folder)
            left = list(found.left)
            answering = Answering(connection=asking, keys=keys, folder=folder, left=left)
            stick = Stick(
                applier=Applier(connection, config.policies),
                asking=asking,
                keys=keys,
                limits=Limits(payload=config.serve.payload_bytes, changes=config.serve.max_changes),
                before=answering.before,
            )
            not_let_in: list[Left] = []
            enrolled = tuple(_let_in(asking, folder, keys, not_let_in))
            answering.begin()
            try:
                brought = tuple(stick.bring((one for one in found.usable if one.name not in beside), left))
            except DbsyncError:
                with suppress(DbsyncError):  # what was in the way first is told
                    stick.write_seen(folder, config.node.name)
                raise
            boxes = tuple(lists.take_from_stick(asking, folder, keys, left))
            answering.finish(stick.turn)
            stick.write_receipts(folder, config.node.name, also={one.name.node for one in boxes})
            left += [one for one in not_let_in if (folder / one.name).exists()]  # else another let it in meanwhile
    return Imported(
        enrolled=enrolled, brought=brought, lists=boxes, answered=tuple(answering.answered), left=tuple(left)
    )


def _let_in(connection: psycopg.Connection, folder: Path, keys: Keys, left: list[Left]) -> Iterator[str]:
    """Let in whoever brings the secret of an invitation; what cannot be granted is put to ``left``."""
    for path, found in find_requests(folder, keys):
        if isinstance(found, Left):
            left.append(found)
            continue
        try:
            registry.enrol(connection, found.name, found.secret, found.keys)
        except NotAdmitted as error:
            left.append(Left(name=path.name, why=str(error), hint=error.hint))
            continue
        remove_request(path)
        yield found.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One bundle as far as it can be looked into here."""

    name: str
    key: str
    bytes: int
    sender: str | None
    """Whose key it is; None for somebody who is not known here."""
    readable: bool
    batches: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What is on a stick."""

    bundles: tuple[Looked, ...]
    left: tuple[Left, ...]


def look(config: Config, folder: Path) -> Inspected:
    """Look at what is in a folder, and change nothing."""
    keys = Keys.load(Path(config.node.keys))
    found = find_bundles(folder)
    with connect(config.node.source, name="upstream", application="dbsync bundles") as asking:
        schema.require(asking, "upstream")
        with translated("upstream"):
            seen = tuple(_look(asking, bundle, keys) for bundle in found.usable)
    return Inspected(bundles=seen, left=found.left)


def _look(asking: psycopg.Connection, bundle: Bundle, keys: Keys) -> Looked:
    peer = registry.sender_of_key(asking, bundle.key_id)
    numbers: list[int] = []
    why = "its sender is not known here"
    if peer is not None and peer.keys is not None:
        try:
            with open_bundle(bundle, own=keys, sender=peer.keys) as stream:
                numbers += [number for number, _ in stream.batches()]
            why = ""
        except DbsyncError as error:
            why = str(error)
    return Looked(
        name=bundle.name.file(),
        key=bundle.key_id,
        bytes=_size(bundle),
        sender=peer.name if peer else None,
        readable=not why,
        batches=tuple(numbers),
        why=why,
    )


def _size(bundle: Bundle) -> int:
    with files.told(bundle.paths[0], "the bundle was not read"):
        return sum(path.stat().st_size for path in bundle.paths)


class Stick:
    """What is done with the bundles of one folder at their destination."""

    def __init__(
        self,
        *,
        applier: Applier,
        asking: psycopg.Connection,
        keys: Keys,
        limits: Limits,
        before: Callable[[Header], None] = lambda _: None,
    ) -> None:
        self._applier = applier
        self._before = before
        self._asking = asking
        self._keys = keys
        self._limits = limits
        self.receipts: dict[str, dict[tuple[UUID, str], Carried]] = {}
        """By node, the newest of each life and link."""

    def bring(self, bundles: Iterable[Bundle], left: list[Left]) -> Iterator[Brought]:
        """Bring each in; what cannot be is put to ``left``."""
        for bundle in bundles:
            try:
                with self.turn(bundle.name.node):
                    brought = self.bring_one(bundle)
            except DbsyncError as error:
                if error.try_again and not isinstance(error, files.Gone):
                    raise
                left.append(Left(name=bundle.name.file(), why=str(error), hint=error.hint))
                continue
            yield brought

    def write_receipts(self, folder: Path, destination: str, also: Collection[str] = ()) -> None:
        """Write the receipts of all nodes whose bundles or receipts were there: the newest, for another may write them as well.

        What else is said to a node goes with them: a certificate, and which of its lists are here; to those named ``also`` too.
        """
        for node in sorted({*self.receipts, *_asking(folder), *also}):
            with self.turn(node):
                signed = lists.sign_arrived(self._asking, destination=destination, node=node, keys=self._keys)
                if signed is not None:
                    write_paper(folder / lists_name(node), signed, "the paper of lists was not written")
                found = [self._newest(link, one) for link, one in receipts.newest(self._asking, node)]
                if not found and node not in self.receipts:
                    continue  # somebody else's
                self._certify(folder, destination, node)
                write_receipts(folder, destination=destination, node=node, receipts=found, keys=self._keys)

    def sign_receipts(self, destination: str, node: str) -> Signed | None:
        """Give the receipts of a node as they are carried to it; None where nothing of it is here."""
        found = [self._newest(link, one) for link, one in receipts.newest(self._asking, node)]
        return sign_receipts(destination=destination, node=node, receipts=found, keys=self._keys) if found else None

    def _certify(self, folder: Path, destination: str, node: str) -> None:
        """Write what whoever wipes a laptop wants to see; before the receipts, which a service waits for and reads at once."""
        signed = issue_newest(self._asking, destination=destination, node=node, keys=self._keys)
        if signed is not None:
            write_paper(folder / certificate_name(node), signed, "the certificate was not written")

    def _newest(self, link: str, receipt: Receipt) -> Carried:
        """Give a receipt as it was made where that was here and now: then it says what went into quarantine."""
        made = self.receipts.get(receipt.node, {}).get((receipt.incarnation, link))
        return (
            made if made is not None and made.receipt.number == receipt.number else Carried(link=link, receipt=receipt)
        )

    def write_seen(self, folder: Path, destination: str) -> None:
        """Write the receipts that are known without asking the database, which may be away."""
        for node, found in self.receipts.items():
            write_receipts(folder, destination=destination, node=node, receipts=list(found.values()), keys=self._keys)

    @contextmanager
    def turn(self, node: str) -> Iterator[None]:
        """Be the only one who brings in, or answers, what is of a node."""
        self._asking.execute(statement("receipts", "hold_stick"), {"node": node})
        try:
            yield
        finally:
            if not self._asking.broken:
                self._asking.execute(statement("receipts", "let_go_of_stick"), {"node": node})

    def bring_one(self, bundle: Bundle) -> Brought:
        """Bring in one bundle: its batches in their order, each with its receipt."""
        peer = known_sender(self._asking, bundle.key_id, bundle.name.file())
        assert peer.keys is not None
        applied: list[int] = []
        known = changes = held = 0
        with open_bundle(bundle, own=self._keys, sender=peer.keys) as stream:
            for number, chunks in stream.batches():
                batch = decode(chunks, limits=self._limits)
                _refuse_another(stream.head, number, batch.header)
                admit(self._asking, peer, batch.header)
                receipt = self._apply_next(batch, alone=not peer.passes_on)
                if receipt is None:
                    known += 1
                    continue
                applied.append(receipt.number)
                changes += batch.header.changes
                held += receipt.held
        return Brought(
            name=bundle.name, node=peer.name, applied=tuple(applied), known=known, changes=changes, held=held
        )

    def _apply_next(self, batch: Batch, *, alone: bool) -> Receipt | None:
        """Apply a batch if it is the next one of its node; None for one that is here already, or of a life that is over."""
        batch = replace(batch, header=timelines.placed(self._asking, batch.header))
        header = batch.header
        last = self._applier.last_receipt(header.node, header.incarnation, header.link)
        over = receipts.over(self._asking, header)
        reached = max(last.number if last else 0, over.number if over else 0)
        self._note(header, last)  # whatever becomes of this batch, the node is to know what is here
        if header.number > reached + 1:
            early = NotYet(
                f"batch {header.number} of {header.node} has to wait",
                where=header.node,
                why=f"batch {reached + 1} is not here yet",
                hint="bring the stick that has it, or let the node export again: it writes all that is missing. If this database"
                " was restored from a backup, or the node got another name, let it type with this stick:"
                " dbsync bundle receipts DIR --went-back",
            )
            early.missing = reached + 1
            raise early
        if header.number <= reached:
            self._pass_over(batch)
            return None
        self._before(header)
        try:
            receipt = self._applier.apply(batch, alone=alone)
        except IdentityConflict:
            last = self._applier.last_receipt(header.node, header.incarnation, header.link)
            if last is None or last.number < header.number:
                raise
            raise NotYet(
                f"batch {header.number} of {header.node} came by another way at this moment",
                where=header.node,
                why="a line or a relay brings the same changes",
                hint="import the stick again: what is here is passed over",
            ) from None
        self._note(header, receipt)
        return receipt

    def _note(self, header: Header, receipt: Receipt | None) -> None:
        of_node = self.receipts.setdefault(header.node, {})
        if receipt is not None:
            of_node[header.incarnation, header.link] = Carried(link=header.link, receipt=receipt)

    def _pass_over(self, batch: Batch) -> None:
        """Read a batch that is here already to its end: it must be what it was."""
        digest = hashlib.sha256()
        for chunk in batch.payload:
            digest.update(chunk)
        here = self._applier.receipt(batch.header)
        if here is not None and here.hash != digest.digest():
            raise IdentityConflict(
                f"batch {batch.header.number} of {batch.header.node} is here with other content",
                where=batch.header.node,
                why="it was cut anew and came by another way, or two databases send as the same node",
                hint="let the node export again: it finds out which",
            )


def _asking(folder: Path) -> Iterator[str]:
    """Name the nodes whose receipts are in a folder: all may have arrived long ago, and what is above have come further."""
    with files.told(folder, "the folder cannot be read"):
        return iter([node for path in folder.iterdir() if (node := read_receipts_name(path.name)) is not None])


def _refuse_another(head: Head, number: int, header: Header) -> None:
    said = (head.node, head.lineage, head.incarnation, head.link, number)
    if said != (header.node, header.lineage, header.incarnation, header.link, header.number):
        raise FormatError(
            "a batch is not the one that the bundle says",
            where=head.node,
            why=f"it is batch {header.number} of {header.node}",
            hint="let the node export again",
        )
