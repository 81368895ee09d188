"""Where relays land: sealed bundles and papers come in whole, what is signed for their senders goes back. See docs/reference/http.md."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import structlog

from dbsync.apply import receipts
from dbsync.batch.codec import Limits
from dbsync.bundle import files, sealed
from dbsync.bundle.find import Bundle
from dbsync.bundle.names import (
    SIGNATURE,
    BundleName,
    Kind,
    SealedName,
    read_name,
    read_receipts_name,
    read_sealed_name,
    receipts_name,
)
from dbsync.bundle.receipts import Carried, sign_receipts
from dbsync.config.models import Config
from dbsync.errors import FormatError, LinkHalted, NotAdmitted
from dbsync.identity.keys import Keys, Signed, signer
from dbsync.identity.registry import Role
from dbsync.service import lists
from dbsync.service.answering import answered
from dbsync.service.bundles import Stick
from dbsync.service.certificate import issue_newest
from dbsync.web.appliers import Appliers
from dbsync.web.comparisons import Comparisons
from dbsync.web.door import Said, Visit, paper
from dbsync.web.says import Malformed, number
from dbsync.web.uploads import Upload

LARGEST_ANSWER = 700_000
"""Bytes of a sealed answer that go into one of ours."""
_NO_COPY = "there is no room for a copy of the bundle"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dock:
    """Answers relays. What they bring is believed for its senders' signatures, and applied as from a stick."""

    config: Config
    keys: Keys
    appliers: Appliers
    comparisons: Comparisons
    connections: Callable[[], AbstractContextManager[psycopg.Connection]]

    def kept(self, visit: Visit) -> Said:
        """Say how much of a bundle or a paper is here."""
        _, upload = _parcel(visit)
        with self.connections() as connection:
            size, digest = upload.digest(connection)
        return Said(status=200, body={"offset": size, "hash": digest.hex()})

    def part(self, visit: Visit) -> Said:
        """Keep a part of it."""
        _, upload = _parcel(visit)
        place = number(visit.query, "offset")
        with self.connections() as connection:
            upload.add(connection, place, visit.body, most=self.config.serve.batch_bytes)
        return Said(status=200, body={"offset": place + len(visit.body)})

    def forget(self, visit: Visit) -> Said:
        """Forget what is here of it."""
        _, upload = _parcel(visit)
        self._forget(upload)
        return Said(status=200, body={})

    def finish(self, visit: Visit) -> Said:
        """Apply a whole bundle, whose signature comes now, and give its sender's receipts to be carried home; take a paper."""
        name, upload = _parcel(visit)
        if isinstance(name, SealedName):
            return self._take(name, upload, visit)
        try:
            with self._written(name, upload, visit.body) as bundle, self.appliers.one() as hand:
                limits = Limits(payload=self.config.serve.payload_bytes, changes=self.config.serve.max_changes)
                stick = Stick(applier=hand.applier, asking=hand.connection, keys=self.keys, limits=limits)
                brought = stick.bring_one(bundle)
        except FormatError:
            self._forget(upload)
            raise
        self._forget(upload)
        log.info("bundle_applied", relay=visit.peer.name, node=brought.node, batches=brought.applied, held=brought.held)
        return self._receipts(brought.node)

    def receipts(self, visit: Visit) -> Said:
        """Give a node's receipts, signed."""
        return self._receipts(_node(visit))

    def certificate(self, visit: Visit) -> Said:
        """Certify what is here of a node, to be carried to it."""
        node = _node(visit)
        with self.connections() as connection:
            return paper(issue_newest(connection, destination=self.config.node.name, node=node, keys=self.keys))

    def _receipts(self, node: str) -> Said:
        with self.connections() as connection:
            found = [Carried(link=link, receipt=receipt) for link, receipt in receipts.newest(connection, node)]
        if not found:
            return paper(None)
        return paper(sign_receipts(destination=self.config.node.name, node=node, receipts=found, keys=self.keys))

    def _take(self, name: SealedName, upload: Upload, visit: Visit) -> Said:
        """Keep a list, and say which are here; answer a question. What comes too early stays with the relay."""
        with self.connections() as connection:
            size, _ = upload.digest(connection)
            if size > sealed.LARGEST:
                raise FormatError("the paper is larger than any", where=name.file())
            with closing(upload.read(connection, size)) as parts:
                signed = Signed(data=b"".join(parts), signature=visit.body)
            upload.remove(connection)
            if name.kind is Kind.LIST:
                brought = lists.take_sealed(connection, name, signed, self.keys)
                log.info("list_kept", relay=visit.peer.name, node=name.node, list=str(name.id), new=brought.new)
                return paper(
                    lists.sign_arrived(connection, destination=self.config.node.name, node=name.node, keys=self.keys)
                )
            with self.comparisons.turn():
                done, answer = answered(connection, self.keys, name, signed)
        log.info("comparison_answered", relay=visit.peer.name, node=name.node, differing=done.differing)
        if len(answer.data) > LARGEST_ANSWER:
            raise LinkHalted(
                "the answer is too large for a relay",
                where=name.node,
                hint=f"on {name.node}: dbsync verify --stick DIR",
            )
        return paper(answer)

    @contextmanager
    def _written(self, name: BundleName, upload: Upload, signature: bytes) -> Iterator[Bundle]:
        """Put a bundle into a folder of its own: sealed as it is, it is read like one on a stick."""
        try:
            key_id = signer(signature)
        except ValueError:
            raise Malformed("that is no signature", where="request") from None
        with files.told_here(_NO_COPY):
            room = tempfile.TemporaryDirectory(prefix="dbsync-")
        with room as folder:
            path = Path(folder) / name.file()
            with self.connections() as connection, files.told_here(_NO_COPY):
                size, _ = upload.digest(connection)
                with path.open("xb") as file, closing(upload.read(connection, size)) as parts:
                    for part in parts:
                        file.write(part)
                path.with_name(path.name + SIGNATURE).write_bytes(signature)
            yield Bundle(name=name, paths=(path,), key_id=key_id)

    def _forget(self, upload: Upload) -> None:
        with self.connections() as connection:
            upload.remove(connection)


def _node(visit: Visit) -> str:
    """Give the node that a relay asks about."""
    _refuse_others(visit)
    if read_receipts_name(receipts_name(visit.path["node"])) is None:
        raise Malformed("that is no node's name", where="request")
    return visit.path["node"]


def _parcel(visit: Visit) -> tuple[BundleName | SealedName, Upload]:
    _refuse_others(visit)
    found = read_name(visit.path["file"])
    name = read_sealed_name(visit.path["file"]) if found is None or found[1] else found[0]
    if name is None or (isinstance(name, SealedName) and name.kind is Kind.ANSWER):
        raise Malformed("that is no bundle's name", where="request")
    identity = hashlib.sha256(name.file().encode()).hexdigest()
    return name, Upload(peer=visit.peer.name, id=identity)


def _refuse_others(visit: Visit) -> None:
    if visit.peer.role is not Role.RELAY:
        raise NotAdmitted(
            f"{visit.peer.name} is no relay",
            where=visit.peer.name,
            why="it was invited as a node",
            hint=f"dbsync nodes revoke {visit.peer.name}   then: dbsync nodes invite {visit.peer.name} --relay   (at the upstream)",
        )
